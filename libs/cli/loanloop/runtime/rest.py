"""How an installation's own REST is asked: by its URL, and by https with trust in its own certificate alone."""

import ipaddress
import ssl

from loanloop.runtime.ports import HOST
from loanloop.runtime.problems import CannotRun
from loanloop.runtime.settings import RuntimeSettings


def rest_url_at(host: str, port: int) -> str:
    """The predictor inherits its settings from the environment, and these say whether it speaks TLS."""
    return f"{'https' if RuntimeSettings().rest_certificate else 'http'}://{_reached_at(host)}:{port}"


def _reached_at(host: str) -> str:
    """What listens on all addresses, on those of IPv6 too, is reached by loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return HOST
    return f"[{host}]" if address.version == 6 else host


def rest_asks_for_key() -> bool:
    return RuntimeSettings().rest_keys is not None


def rest_trust() -> ssl.SSLContext | bool:
    """For httpx; True without TLS. The certificate is the predictor's own, so that it need not name loopback.

    Raises CannotRun where it can't be loaded.
    """
    certificate = RuntimeSettings().rest_certificate
    if certificate is None:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(certificate)
    except OSError as cause:
        raise CannotRun(
            f"REST's certificate {certificate} cannot be loaded ({cause.strerror}): "
            "set LOANLOOP_PREDICTOR__TLS_CERT to a PEM file."
        ) from cause
    return context
