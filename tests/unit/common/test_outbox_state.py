"""A relay that publishes nothing says so."""

from typing import Any

from loanloop_common.outbox import OutboxRelay

from tests.support.eventually import eventually


class PoolThatIsAway:
    def acquire(self) -> Any:
        raise ConnectionRefusedError


async def test_a_relay_without_its_database_is_failing() -> None:
    relay = OutboxRelay(PoolThatIsAway(), broker=None, service="test")  # type: ignore[arg-type]  # never reached
    assert relay.state == "stopped"

    await relay.start()
    await eventually(lambda: relay.state == "failing")
    await relay.stop()

    assert relay.state == "stopped"
