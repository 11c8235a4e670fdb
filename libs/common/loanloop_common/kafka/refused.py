"""Why no broker takes the connection: aiokafka tries each address and says only that none did."""

import ssl
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from loanloop_common.errors import AccessRefused, LoanloopError, Unavailable, in_one_line
from loanloop_common.settings import KafkaSettings

_NO_LOGIN = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
_WITHIN_MS = 5000


async def why_refused(settings: KafkaSettings, security: dict[str, Any]) -> LoanloopError:
    """AccessRefused where a broker answers and turns us away, else Unavailable. `security` as aiokafka takes it."""
    at = settings.bootstrap_servers
    for address in at.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            connection = await create_conn(host, int(port), request_timeout_ms=_WITHIN_MS, **security)
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
        except (KafkaError, OSError, ValueError, TimeoutError):
            continue
    why = "nothing listens there, or not by this security protocol"
    return Unavailable(f"Kafka at {at} does not answer: {why}")
