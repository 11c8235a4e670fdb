"""The one place where the driver's errors become those of the product."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncpg import DataError
from asyncpg.exceptions import InternalClientError
from loanloop_common.errors import Unavailable, in_one_line
from loanloop_common.postgres import UNREACHABLE, Connection, Pool

ACQUIRE_TIMEOUT_S = 5.0


class DatabaseAway(Unavailable):
    """PostgreSQL does not answer, or has no connection left."""


@asynccontextmanager
async def connection_of(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for one unit of work. Raises DatabaseAway."""
    try:
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            yield connection
    except InternalClientError as cause:  # the pool resets a connection that died in the middle of a statement
        raise DatabaseAway(f"the connection to PostgreSQL was lost: {in_one_line(cause)}") from cause
    except UNREACHABLE as cause:
        if isinstance(cause, ValueError):
            # asyncpg counts a value that it can't encode among its InterfaceErrors.
            raise DataError(str(cause)) from cause
        raise DatabaseAway(f"PostgreSQL does not answer: {in_one_line(cause)}") from cause
