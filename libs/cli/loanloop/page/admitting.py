"""Who may see the page beyond loopback: the predictor's keys, asked for as the predictor asks for them."""

import asyncio
import time
from pathlib import Path

import structlog
from loanloop_predictor.api.access import Access, Guard
from loanloop_predictor.domain.access import RateLimit
from loanloop_predictor.domain.access_keys import KeysInvalid, caller_of
from loanloop_predictor.store.keys_file import LOOK_EVERY_S, KeysFile
from starlette.types import ASGIApp

log = structlog.get_logger()

# Of each key: a viewer asks every few seconds, and several may have the same key.
REQUESTS_PER_S, BURST = 50, 200


class KeysWatch:
    """A key that is made or revoked counts within seconds; a file that has become unreadable changes nothing."""

    def __init__(self, path: Path) -> None:
        """Raises KeysInvalid."""
        self._known = KeysFile(path)

    def guarded(self, app: ASGIApp) -> ASGIApp:
        """Each route but /health needs the role read."""
        rate = RateLimit(per_s=REQUESTS_PER_S, burst=BURST)
        return Guard(app, Access(rate, by_key=lambda key: caller_of(key, self._known.keys, time.time())))

    async def run(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                self._known.look()
                said = ""
            except KeysInvalid as invalid:
                if str(invalid) != said:
                    said = str(invalid)
                    log.warning("keys_of_before_hold", reason=said)
