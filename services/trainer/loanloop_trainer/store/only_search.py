"""The right to search for hyperparameters, which one process of all has: an advisory lock of PostgreSQL."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from asyncpg.pool import PoolConnectionProxy
from loanloop_common.errors import LoanloopError, Unavailable
from loanloop_common.postgres import Connection, Pool

from loanloop_trainer.store.availability import DatabaseAway, reaching_database

# It ends with the session: a killed search leaves no lock behind.
LOCK = """
    SELECT pg_try_advisory_lock(hashtext('loan_data.tunings')) AS locked, pid, backend_start
    FROM pg_stat_activity
    WHERE pid = pg_backend_pid()
"""
UNLOCK = "SELECT pg_advisory_unlock(hashtext('loan_data.tunings'))"

# A session that was lost on the way here may live on there, and hold the lock.
END_OWN = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"

BACK_WITHIN_S = 60.0  # a restart with its recovery; the trial that has ended waits for it
TRY_EVERY_S = 0.5


class SearchUnderWay(LoanloopError):
    """Another process searches on this database."""

    def __init__(self) -> None:
        super().__init__("another `loanloop tune` searches on this database already")


class SearchTakenOver(LoanloopError):
    """Another process has searched on while this one's session with the database was lost."""

    def __init__(self) -> None:
        super().__init__("another `loanloop tune` has taken this search over; its trials so far are kept")


class SearchForgotten(LoanloopError):
    """An operator wants the file's hyperparameters instead."""

    def __init__(self) -> None:
        super().__init__("this search was forgotten meanwhile (`loanloop tune --forget`): its result is not used")


class OnlySearch:
    """Statements go over the session that holds the lock, so what is written is written by the only search.

    A session that was lost is replaced by a new one, if nobody else has taken the lock meanwhile.
    """

    def __init__(self, pool: Pool, *, back_within_s: float) -> None:
        self._pool = pool
        self._back_within_s = back_within_s
        self._session: PoolConnectionProxy[Any] | None = None
        self._known_there: tuple[Any, ...] = ()

    async def fetchrow(self, statement: str, *arguments: Any) -> Any:
        """May carry it out again where an answer was lost on the way, so it must be idempotent.

        Raises SearchTakenOver, and Unavailable where the database stays away.
        """
        deadline = time.monotonic() + self._back_within_s
        while True:
            try:
                if self._session is None and not await self.take():
                    raise SearchTakenOver
                assert self._session is not None
                with reaching_database():
                    return await self._session.fetchrow(statement, *arguments)
            except DatabaseAway as away:
                await self._drop()
                if time.monotonic() > deadline:
                    raise Unavailable(f"{away}; the trials so far are kept") from away
            await asyncio.sleep(TRY_EVERY_S)

    async def take(self) -> bool:
        """Whether the lock was free, or held by a session of this process that it has lost."""
        with reaching_database():
            self._session = session = await self._pool.acquire()
            locked = await self._lock(session)
            if not locked and self._known_there:
                await session.fetchrow(END_OWN, *self._known_there)
                locked = await self._lock(session)
        if not locked:
            await self._drop()
        return locked

    async def _lock(self, session: Connection) -> bool:
        row = await session.fetchrow(LOCK)
        assert row is not None
        if row["locked"]:
            self._known_there = (row["pid"], row["backend_start"])
        return bool(row["locked"])

    async def leave(self) -> None:
        """Whatever has become of the session; without it there is no lock."""
        if self._session is None:
            return
        try:
            with contextlib.suppress(DatabaseAway), reaching_database():
                await self._session.fetchval(UNLOCK)
        finally:
            await self._drop()  # whatever it answered: the pool waits for its sessions when it is closed

    async def _drop(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        with contextlib.suppress(DatabaseAway), reaching_database():
            session.terminate()  # of a lost one the pool has taken the connection away already
        await self._pool.release(session)


@contextlib.asynccontextmanager
async def only_search(pool: Pool, *, back_within_s: float = BACK_WITHIN_S) -> AsyncIterator[OnlySearch]:
    """Raises SearchUnderWay."""
    only = OnlySearch(pool, back_within_s=back_within_s)
    try:
        if not await only.take():
            raise SearchUnderWay
        yield only
    finally:
        await only.leave()
