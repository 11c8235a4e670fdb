"""What is said of where a server listens."""

import re
import socket

import pytest
from loanloop_common.listening import PortTaken, listening_socket, url_of


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1", r"http://127\.0\.0\.1:[1-9]\d*"),
        ("localhost", r"http://localhost:[1-9]\d*"),
        ("0.0.0.0", rf"http://{re.escape(socket.gethostname())}:[1-9]\d*"),
    ],
)
def test_an_address_is_one_that_can_be_asked(host: str, said: str) -> None:
    with listening_socket(host, 0, setting="X") as listening:
        assert re.fullmatch(said, url_of(host, listening))


@pytest.mark.parametrize("host", ["nosuch.invalid", "a..b", "192.0.2.1"])
@pytest.mark.parametrize(
    ("port_set", "host_set"), [("LOANLOOP_REST__PORT", "LOANLOOP_REST__HOST"), ("--port", "--host")]
)
def test_a_host_that_is_not_this_machine_is_not_said_to_be_a_port_that_is_taken(
    host: str, port_set: str, host_set: str
) -> None:
    with pytest.raises(
        PortTaken, match=rf"^can't listen on {host}:0 \(.+\); set {host_set} to an address or a name of"
    ):
        listening_socket(host, 0, setting=port_set)
