"""Why no broker takes the connection: aiokafka tries each address and says only that none did."""

import ssl
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest

from loanloop_common.errors import AccessRefused, LoanloopError, Unavailable, in_one_line
from loanloop_common.settings import KafkaSettings

_NO_LOGIN = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
_WITHIN_MS = 5000
_FAILS = (KafkaError, OSError, ValueError)  # of ssl's errors as well, and of one that came too late


async def why_refused(settings: KafkaSettings, security: dict[str, Any]) -> LoanloopError:
    """AccessRefused where a broker answers and turns us away, else Unavailable. `security` as aiokafka takes it."""
    for host, port, _ in collect_hosts(settings.bootstrap_servers, randomize=False):
        if refused := await _refused_at(host, port, settings, security):
            return refused
    at = settings.bootstrap_servers
    return Unavailable(f"Kafka at {at} does not answer: nothing listens there, or not by this security protocol")


async def _refused_at(host: str, port: int, settings: KafkaSettings, security: dict[str, Any]) -> AccessRefused | None:
    address = f"{host}:{port}"
    try:
        connection = await create_conn(host, port, request_timeout_ms=_WITHIN_MS, **security)
        connection.close()
    except ssl.SSLCertVerificationError as untrusted:
        return AccessRefused(
            f"the certificate of Kafka at {address} is not trusted ({untrusted.verify_message}); set "
            "LOANLOOP_KAFKA__SSL_CAFILE to its CA's file, and name the host that the certificate names"
        )
    except _NO_LOGIN as refused:
        return AccessRefused(
            f"Kafka at {address} does not let {settings.sasl_username!r} in by {settings.sasl_mechanism} "
            f"({in_one_line(refused)}); set LOANLOOP_KAFKA__SASL_USERNAME and LOANLOOP_KAFKA__SASL_PASSWORD"
        )
    except (ConnectionRefusedError, TimeoutError):
        return None
    except _FAILS:
        pass
    spoken = await _spoken_at(host, port, security.get("ssl_context"))
    if spoken in (None, settings.security_protocol):
        return None
    return AccessRefused(
        f"Kafka at {address} speaks {spoken} and not {settings.security_protocol}; name the port of it that does, or "
        f"set LOANLOOP_KAFKA__SECURITY_PROTOCOL to {spoken}"
    )


async def _spoken_at(host: str, port: int, own: ssl.SSLContext | None) -> str | None:
    """The security protocol that a broker answers by; None where none does. Nothing secret is sent."""
    for transport, context in (("PLAINTEXT", None), ("SSL", own or _trusting_all())):
        try:
            connection = await create_conn(
                host, port, request_timeout_ms=_WITHIN_MS, security_protocol=transport, ssl_context=context
            )
        except _FAILS:
            continue
        try:
            answer = await connection.send(SaslHandShakeRequest("PLAIN"))
        except _FAILS:
            continue
        finally:
            connection.close()
        asks_for_login = answer.error_code != IllegalSaslStateError.errno
        return f"SASL_{transport}" if asks_for_login else transport
    return None


def _trusting_all() -> ssl.SSLContext:
    """For whoever has set no TLS, and so no CA: it is only asked whether TLS is spoken there."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
