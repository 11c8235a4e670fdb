"""The Docker engine: whether one answers, and where it publishes the ports of its containers."""

from docker.errors import DockerException
from loanloop_common.errors import in_one_line
from testcontainers.core.config import ConnectionMode
from testcontainers.core.docker_client import DockerClient, get_docker_host

from loanloop.runtime.ports import HOST
from loanloop.runtime.problems import CannotRun

USUAL_SOCKET = "unix:///var/run/docker.sock"


def require_engine() -> None:
    """Raises CannotRun, naming the address, where no engine answers."""
    try:
        DockerClient().client.ping()
    except (DockerException, OSError) as error:
        address = get_docker_host() or USUAL_SOCKET
        raise CannotRun(
            f"No Docker engine answers at {address} ({_cause_of(error)}): start one, or name another in DOCKER_HOST."
        ) from error


def _cause_of(error: BaseException) -> str:
    """What the system said: the client wraps it several times over."""
    causes = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    said = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return said[-1] if said else in_one_line(error)


def published_at() -> str:
    """The address of published ports, known before there is a container: Kafka advertises it."""
    client = DockerClient()
    if client.get_connection_mode() is ConnectionMode.docker_host:
        host = client.host()
        return HOST if host == "localhost" else host  # of its two addresses, the one that everything listens on
    # This process is in a container itself: what the engine publishes is found at the gateway.
    network = client.client.networks.get(client.find_host_network() or "bridge")
    gateways = [block["Gateway"] for block in network.attrs["IPAM"]["Config"] if "Gateway" in block]
    return str(gateways[0]) if gateways else client.host()
