"""A database that goes away is unavailable, in whatever words the driver says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asyncpg import DataError, InterfaceError
from asyncpg.exceptions import InternalClientError
from loanloop_predictor.store.availability import DatabaseAway, connection_of


class DyingPool:
    """Hands out a connection, and raises when it comes back."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @asynccontextmanager
    async def acquire(self, timeout: float) -> AsyncIterator[Any]:  # noqa: ASYNC109 - asyncpg names it so
        yield object()
        raise self._error


class UnencodableValue(InterfaceError, ValueError):
    pass


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (InternalClientError("cannot switch to state 15; another operation (2) is in progress"), DatabaseAway),
        (ConnectionResetError("Connection lost"), DatabaseAway),
        (InterfaceError("connection is closed"), DatabaseAway),
        (UnencodableValue("invalid input for query argument"), DataError),
    ],
)
async def test_what_the_driver_says_of_a_dead_connection_is_unavailable(
    raised: Exception, said: type[Exception]
) -> None:
    with pytest.raises(said):
        async with connection_of(DyingPool(raised)):  # type: ignore[arg-type]
            pass
