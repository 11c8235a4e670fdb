"""TLS and passwords of Kafka, PostgreSQL and REST, against servers that ask for them."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.ports import ANY_FREE, HOST, assign_ports
from loanloop_common.errors import AccessRefused
from loanloop_common.kafka import create_topics
from loanloop_common.postgres import create_pool, migrate
from loanloop_common.settings import SettingsInvalid
from loanloop_predictor.domain.access import Role
from loanloop_predictor.domain.access_keys import make_key, written
from pydantic import SecretStr

from tests.support.eventually import eventually
from tests.support.secured_servers import PASSWORD, Certificates, SecuredKafka, TlsFront, make_certificates

KEY, KEPT = make_key("shop", Role.SCORE, bytes(32))


@dataclass
class Secured:
    infrastructure: EmbeddedInfrastructure
    certificates: Certificates
    kafka: SecuredKafka
    front: TlsFront

    def dsn(self, *, host: str = HOST, ca: Path | None = None, password: str | None = None) -> str:
        own = self.infrastructure.postgres.dsn("loanloop")
        secret = own.split(":")[2].split("@")[0]
        own = own.replace(f":{secret}@", f":{quote(password)}@") if password else own
        own = own.replace(f"@{HOST}:{self.infrastructure.postgres.port}", f"@{host}:{self.front.port}")
        return f"{own}?sslmode=verify-full&sslrootcert={ca or self.certificates.ca}"

    def settings(self, **changed: str) -> dict[str, str]:
        return {"LOANLOOP_POSTGRES__DSN": self.dsn()} | self.kafka.settings_of() | changed

    async def end_of(self, service: str, **changed: str) -> tuple[int, str]:
        """Exit code, and the last line of the log."""
        child = await self.infrastructure.start_service(service, instance="refused", **self.settings(**changed))
        code = await child.wait()
        log = self.infrastructure.log_of("refused").read_text()
        assert PASSWORD not in log
        return code, log.splitlines()[-1]


@pytest.fixture(scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    """Servers of its own: those of other tests speak in the clear."""
    folder = tmp_path_factory.mktemp("secured")
    certificates = make_certificates(folder)
    async with EmbeddedInfrastructure(folder / "installation", ports=ANY_FREE) as infrastructure:
        front = TlsFront(certificates, behind=infrastructure.postgres.port)
        await front.start()
        ports = assign_ports(ANY_FREE, None)
        kafka = SecuredKafka(
            infrastructure.children,
            folder / "kafka",
            folder,
            java=infrastructure.java,
            jars=infrastructure.jars,
            port=ports.kafka,
            controller_port=ports.kafka_controller,
        )
        kafka.secured_port, kafka.certificates = ports.rest, certificates
        await kafka.start()
        made = Secured(infrastructure, certificates, kafka, front)
        try:
            await migrate(made.dsn())
            yield made
        finally:
            await infrastructure.stop_services()
            await kafka.stop()
            await front.stop()


async def test_service_works_with_all_three_secured(secured: Secured, tmp_path: Path) -> None:
    keys_file = tmp_path / "keys"
    keys_file.write_text(written([KEPT]))
    await secured.infrastructure.start_service(
        "predictor",
        **secured.settings(
            LOANLOOP_PREDICTOR__KEYS_FILE=str(keys_file),
            LOANLOOP_PREDICTOR__TLS_CERT=str(secured.certificates.cert),
            LOANLOOP_PREDICTOR__TLS_KEY=str(secured.certificates.key),
        ),
    )
    url = secured.infrastructure.rest_url.replace("http:", "https:")
    async with httpx.AsyncClient(
        base_url=url, verify=ssl.create_default_context(cafile=secured.certificates.ca)
    ) as client:

        async def is_up() -> bool:
            try:
                return bool((await client.get("/health")).json()["status"] == "waiting for a model")
            except httpx.TransportError:
                return False

        await eventually(is_up, within_s=120)
        refused = await client.post("/predict", json={})
        let_in = await client.post("/predict", json={}, headers={"X-API-Key": KEY})
        keys_file.write_text("# revoked\n")

        async def is_revoked() -> bool:
            return (await client.post("/predict", json={}, headers={"X-API-Key": KEY})).status_code == 401

        await eventually(is_revoked)
    assert (refused.status_code, let_in.status_code) == (401, 422)
    assert let_in.headers["strict-transport-security"]
    assert (let_in.headers["x-content-type-options"], "server" in let_in.headers) == ("nosniff", False)
    assert secured.front.n_secured > 0
    assert KEY not in secured.infrastructure.log_of("predictor").read_text()


async def test_certificate_of_another_ca_or_host_and_wrong_password_are_told_in_one_sentence(secured: Secured) -> None:
    other_ca, kafka = secured.certificates.other_ca, secured.kafka.login_of()
    at = kafka.bootstrap_servers
    for changed, sentence in (
        ({"ssl_cafile": other_ca}, f"the certificate of Kafka at {at} is not trusted"),
        ({"sasl_password": SecretStr("wrong")}, f"Kafka at {at} does not let 'loans' in by SCRAM-SHA-512"),
        ({"sasl_mechanism": "PLAIN"}, f"Kafka at {at} does not let 'loans' in by PLAIN"),
    ):
        with pytest.raises(AccessRefused) as refused:
            await create_topics(kafka.model_copy(update=changed))
        assert sentence in str(refused.value)
    with pytest.raises(SettingsInvalid, match="LOANLOOP_KAFKA__SSL_CAFILE"):
        await create_topics(kafka.model_copy(update={"ssl_cafile": Path("/none.pem")}))
    for dsn, sentence in (
        (secured.dsn(ca=other_ca), "PostgreSQL's certificate is not trusted"),
        (secured.dsn(host="localhost"), "certificate is not valid for 'localhost'"),
        (secured.dsn(password="wrong"), "PostgreSQL does not let us in (password authentication failed"),
        (secured.infrastructure.postgres_dsn + "?sslmode=require", "PostgreSQL speaks no TLS"),
    ):
        with pytest.raises(AccessRefused) as refused:
            await create_pool(dsn, application_name="test")
        assert sentence in str(refused.value)


async def test_a_listener_of_another_security_protocol_is_named_and_not_waited_for(secured: Secured) -> None:
    login = secured.kafka.login_of()
    for at, spoken in ((login.bootstrap_servers, "SASL_SSL"), (secured.kafka.bootstrap, "PLAINTEXT")):
        for asked in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
            wanted = login.model_copy(update={"bootstrap_servers": at, "security_protocol": asked})
            if asked == spoken:
                await create_topics(wanted)
                continue
            with pytest.raises(AccessRefused, match=f"^Kafka at {at} speaks {spoken} and not {asked}; .* to {spoken}$"):
                await create_topics(wanted)


@pytest.mark.parametrize(
    ("wrong", "said_of_it"),
    [
        ("LOANLOOP_KAFKA__SASL_PASSWORD", "does not let"),
        ("LOANLOOP_POSTGRES__DSN", "does not let us in"),
        ("sslrootcert", "PostgreSQL's sslrootcert=/none.pem cannot be loaded (No such file or directory)"),
    ],
)
async def test_service_that_is_turned_away_ends_with_exit_code_2(secured: Secured, wrong: str, said_of_it: str) -> None:
    changed = {
        "LOANLOOP_KAFKA__SASL_PASSWORD": {wrong: "wrong"},
        "LOANLOOP_POSTGRES__DSN": {wrong: secured.dsn(password="wrong")},
        "sslrootcert": {"LOANLOOP_POSTGRES__DSN": secured.dsn(ca=Path("/none.pem"))},
    }[wrong]
    code, said = await secured.end_of("ingest", **changed)
    assert (code, said.startswith("loanloop-ingest: "), said_of_it in said) == (2, True, True), said


async def test_certificate_with_another_key_ends_the_predictor_with_one_sentence(secured: Secured) -> None:
    code, said = await secured.end_of(
        "predictor",
        LOANLOOP_PREDICTOR__TLS_CERT=str(secured.certificates.cert),
        LOANLOOP_PREDICTOR__TLS_KEY=str(secured.certificates.ca),
    )
    assert (code, "cannot be used" in said, "LOANLOOP_PREDICTOR__TLS_KEY" in said) == (2, True, True), said
