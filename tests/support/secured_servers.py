"""A Kafka that asks for SCRAM passwords over TLS, and TLS before a PostgreSQL, with certificates of a test's own CA."""

import asyncio
import ssl
from dataclasses import dataclass, replace
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from loanloop.runtime.children import Command
from loanloop.runtime.data_directory import write_private
from loanloop.runtime.kafka import EmbeddedKafka
from loanloop.runtime.ports import HOST
from loanloop_common.settings import KafkaSettings
from pydantic import SecretStr

# PostgreSQL's manual, "Message Formats": a length of 8, and a code that no version of the protocol has.
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
USER, PASSWORD = "loans", "correct horse"


@dataclass(frozen=True)
class Certificates:
    """PEM files; the certificate names 127.0.0.1 alone, `other_ca` has signed nothing."""

    ca: Path
    other_ca: Path
    cert: Path
    key: Path

    @property
    def both(self) -> Path:
        return self.cert.with_name("both.pem")


def make_certificates(folder: Path) -> Certificates:
    made = Certificates(*(folder / f"{name}.pem" for name in ("ca", "other_ca", "cert", "key")))
    ca = trustme.CA()
    ca.cert_pem.write_to_path(made.ca)
    trustme.CA().cert_pem.write_to_path(made.other_ca)
    issued = ca.issue_cert(HOST)
    made.cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    for path, content in (
        (made.key, issued.private_key_pem.bytes()),
        (made.both, _as_pkcs8(issued.private_key_pem.bytes()) + made.cert.read_bytes()),
    ):
        path.touch(mode=0o600)
        path.write_bytes(content)
    return made


def _as_pkcs8(key: bytes) -> bytes:
    """The one form that Kafka reads."""
    return serialization.load_pem_private_key(key, password=None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class SecuredKafka(EmbeddedKafka):
    """Listens for others by SASL_SSL on `secured_port`; for itself, and to be waited for, as it did."""

    secured_port: int
    certificates: Certificates

    def _write_properties(self, name: str, *, data: str) -> None:
        super()._write_properties(name, data=data)
        path = self._folder / name
        lines = dict(line.split("=", 1) for line in path.read_text().splitlines())
        secured = f"SASL_SSL://{HOST}:{self.secured_port}"
        lines |= {
            "listeners": f"{lines['listeners']},{secured}",
            "advertised.listeners": f"{lines['advertised.listeners']},{secured}",
            "listener.security.protocol.map": f"{lines['listener.security.protocol.map']},SASL_SSL:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.both),
        }
        write_private(path, "".join(f"{key}={value}\n" for key, value in lines.items()))

    def _command(self, main_class: str, *arguments: str) -> Command:
        command = super()._command(main_class, *arguments)
        if "format" not in arguments:
            return command
        scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        return replace(command, argv=[*command.argv, "--add-scram", scram])

    def settings_of(self, user: str = USER) -> dict[str, str]:
        return {
            "LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": f"{HOST}:{self.secured_port}",
            "LOANLOOP_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "LOANLOOP_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
            "LOANLOOP_KAFKA__SASL_USERNAME": user,
            "LOANLOOP_KAFKA__SASL_PASSWORD": PASSWORD,
            "LOANLOOP_KAFKA__SSL_CAFILE": str(self.certificates.ca),
        }

    def login_of(self, user: str = USER) -> KafkaSettings:
        return KafkaSettings(
            bootstrap_servers=f"{HOST}:{self.secured_port}",
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=user,
            sasl_password=SecretStr(PASSWORD),
            ssl_cafile=self.certificates.ca,
        )


class TlsFront:
    """TLS before a PostgreSQL whose build has none (that of the wheel), as a pooler in front of a server does it."""

    def __init__(self, certificates: Certificates, *, behind: int) -> None:
        self._behind = behind
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificates.cert, certificates.key)
        self._server: asyncio.Server | None = None
        self.port = 0
        self.n_secured = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(self._context)
                self.n_secured += 1
                behind_reader, behind_writer = await asyncio.open_connection(HOST, self._behind)
                await asyncio.gather(_pass_on(reader, behind_writer), _pass_on(behind_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has hung up, over a certificate it does not trust
        finally:
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
