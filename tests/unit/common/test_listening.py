"""What is said of where a server listens."""

import re
import socket

import pytest
from loanloop_common.listening import listening_socket, url_of


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
