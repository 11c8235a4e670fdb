"""Where the driver's errors become those of the product."""

from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import InterfaceError
from loanloop_common.errors import Unavailable, in_one_line
from loanloop_common.postgres import AWAY


class DatabaseAway(Unavailable):
    """The database does not answer, or ended what a later try may do; no computation raises this."""


@contextmanager
def reaching_database() -> Iterator[None]:
    """Around the store's calls alone. Raises DatabaseAway where a later try can help."""
    try:
        yield
    except DatabaseAway:
        raise
    except (Unavailable, *AWAY, InterfaceError) as away:
        if isinstance(away, ValueError):
            # asyncpg counts a value that it can't encode among its InterfaceErrors.
            raise
        raise DatabaseAway(f"PostgreSQL does not answer: {in_one_line(away)}") from away
