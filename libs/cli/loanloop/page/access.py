"""Who may see the page beyond loopback: the predictor's keys, asked for as the predictor asks for them."""

import asyncio
import time
from pathlib import Path

from loanloop_common.polling import Poller
from loanloop_predictor.api.access import Access, Guard
from loanloop_predictor.domain.access import RateLimit
from loanloop_predictor.domain.access_keys import caller_of
from loanloop_predictor.store.keys_file import LOOK_EVERY_S, KeysFile
from starlette.types import ASGIApp

# Of each key: a viewer asks every few seconds, and several may have the same key.
REQUESTS_PER_S, BURST = 50, 200


class KeysWatch:
    """A key that is made or revoked counts within seconds; an unreadable file changes the state alone."""

    def __init__(self, path: Path, *, every_s: float = LOOK_EVERY_S) -> None:
        """Raises KeysInvalid."""
        self._known = KeysFile(path)
        self._poller = Poller(self._look, every_s=every_s, name="keys")

    def guarded(self, app: ASGIApp) -> ASGIApp:
        """Each route but /health needs the role read."""
        rate = RateLimit(per_s=REQUESTS_PER_S, burst=BURST)
        return Guard(app, Access(rate, by_key=lambda key: caller_of(key, self._known.keys, time.time())))

    def states(self) -> dict[str, str]:
        return {self._poller.name: self._poller.state}

    async def run(self) -> None:
        """Until cancelled."""
        await self._poller.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._poller.stop()

    async def _look(self) -> None:
        self._known.look()
