"""Which loopback ports an installation listens on."""

import random
import socket
from collections.abc import Container
from dataclasses import asdict, dataclass

from loanloop.runtime.problems import CannotRun

HOST = "127.0.0.1"
# Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes a port while its server restarts.
FREE_RANGE = range(20000, 32000)


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Ports asked for; None takes the usual one if free, else any free one."""

    kafka: int | None = None
    postgres: int | None = None
    rest: int | None = None
    page: int | None = None


USUAL = Ports(kafka=9092, postgres=5432, rest=8000, page=8080)
# For tests: keeps clear of the usual ports, which a person may be using.
ANY_FREE = Ports(kafka=0, postgres=0, rest=0, page=0)


@dataclass(frozen=True, kw_only=True)
class AssignedPorts:
    kafka: int
    kafka_controller: int
    postgres: int
    rest: int
    page: int = 0  # of a folder from before there was one: any will do


def assign_ports(asked: Ports, earlier: AssignedPorts | None, *, rest_host: str = HOST) -> AssignedPorts:
    """Each port as asked for, else as in the earlier run, else the usual one, else a free one; all but REST's on HOST.

    Raises CannotRun if a port that was asked for is busy.
    """
    taken: set[int] = set()
    chosen: dict[str, int] = {}
    for name, wanted in asdict(asked).items():
        before = getattr(earlier, name) if earlier else None
        host = rest_host if name == "rest" else HOST
        if wanted:
            chosen[name] = _asked_for(name, wanted, host)
        else:
            chosen[name] = _first_free((before, getattr(USUAL, name)), taken, wanted, host)
        taken.add(chosen[name])
    before = earlier.kafka_controller if earlier else None
    return AssignedPorts(**chosen, kafka_controller=_first_free((before,), taken, None))


def _asked_for(name: str, port: int, host: str) -> int:
    if not is_free(port, host):
        option = "--port" if name == "rest" else f"--{name}-port"
        raise CannotRun(
            f"Port {port}, asked for with {option}, is not free: stop what listens there or ask for another."
        )
    return port


def _first_free(preferred: tuple[int | None, ...], taken: Container[int], wanted: int | None, host: str = HOST) -> int:
    candidates = () if wanted == 0 else preferred
    for port in (*candidates, *random.sample(FREE_RANGE, 200)):
        if port and port not in taken and is_free(port, host):
            return port
    raise CannotRun(
        f"No free port between {FREE_RANGE.start} and {FREE_RANGE.stop}: stop some programs that listen there."
    )


def is_free(port: int, host: str = HOST) -> bool:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        return False
    return True
