"""The socket that a web server of a service listens on."""

import errno
import ipaddress
import socket

from loanloop_common.errors import LoanloopError


class PortTaken(LoanloopError):
    """The address that was asked for can't be listened on."""


def is_loopback(host: str) -> bool:
    """A name that only resolves to loopback may resolve otherwise tomorrow."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening_socket(host: str, port: int, *, setting: str) -> socket.socket:
    """Bound; its owner listens. Raises PortTaken, which names the setting of the port, or its neighbour of the host."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except (OSError, UnicodeError) as cause:  # a name with an empty part is no ASCII
        raise PortTaken(f"can't listen on {host}:{port} {_why(cause, setting)}") from cause
    listening.set_inheritable(False)
    return listening


def _why(cause: OSError | UnicodeError, setting: str) -> str:
    if isinstance(cause, OSError) and not isinstance(cause, socket.gaierror) and cause.errno != errno.EADDRNOTAVAIL:
        return f"({cause.strerror}); set {setting} to a free port"
    of_host = setting.replace("PORT", "HOST").replace("port", "host")
    said = cause.strerror if isinstance(cause, OSError) else "this is no name of a machine"
    return f"({said}); set {of_host} to an address or a name of this machine"


def url_of(host: str, listening: socket.socket, *, scheme: str = "http") -> str:
    """To be read by people: where it listens on all addresses, the machine's name stands for them."""
    address, port = listening.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}"
