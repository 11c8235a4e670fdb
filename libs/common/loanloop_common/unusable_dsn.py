"""What of PostgreSQL's address cannot be used, said without the password that may be in it."""

import ssl
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from loanloop_common.errors import in_one_line

# A port or a name of a host that can be none, as the driver raises it.
NO_ADDRESS = (ValueError, OverflowError)


def unusable_address(cause: Exception) -> str | None:
    """What is wrong with the address that the driver was given, where that is why there is no connection."""
    if isinstance(cause, asyncpg.ClientConfigurationError):
        # The driver's own sentence has an address in memory where the choices should stand (asyncpg 0.31).
        choices = ", ".join(choice.value for choice in SessionAttribute)
        of_attrs = "target_session_attrs" in str(cause)
        said = f"its target_session_attrs must be one of {choices}" if of_attrs else in_one_line(cause)
        return f"LOANLOOP_POSTGRES__DSN is not usable: {said}"
    if isinstance(cause, NO_ADDRESS) and not isinstance(cause, OSError):  # a certificate's error is a ValueError too
        return (
            "The address of PostgreSQL is not usable: in LOANLOOP_POSTGRES__DSN, or in PGHOST and PGPORT where it "
            "names none, a host must be a name or an address, and a port a number from 1 to 65535"
        )
    return None


def unusable_tls_file(dsn: str) -> str | None:
    """Which of the files that it names for TLS can't be loaded, and why; None where nothing is wrong with any.

    An error of the connection does not tell: a Unix socket of a server that is away has the same.
    """
    named = dict(parse_qsl(urlsplit(dsn).query))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    loading: dict[str, Callable[[str], None]] = {
        "sslrootcert": context.load_verify_locations,
        "sslcrl": context.load_verify_locations,
        "sslcert": lambda path: context.load_cert_chain(path, named.get("sslkey"), named.get("sslpassword", "")),
    }
    for name, load in loading.items():
        try:
            if name in named:
                load(named[name])
        except OSError as cause:
            files = f"{name}={named[name]}" + (f" with sslkey={named.get('sslkey')}" if name == "sslcert" else "")
            return f"PostgreSQL's {files} cannot be loaded ({cause.strerror})"
    return None
