"""What a database serves: one portfolio, with the features it was begun with."""

import asyncpg

from loanloop_common.errors import LoanloopError, Unavailable
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import how_to_name
from loanloop_common.postgres import Connection, Pool

SELECT_PORTFOLIO = "SELECT portfolio FROM loan_data.installation"

SELECT_SCHEMA_HASH = "SELECT schema_hash FROM loan_data.installation"

INSERT_INSTALLATION = (
    "INSERT INTO loan_data.installation (portfolio, schema_hash) VALUES ($1, $2) ON CONFLICT DO NOTHING"
)

SELECT_INSTALLATION = "SELECT portfolio, schema_hash FROM loan_data.installation"


class InstallationMismatch(LoanloopError):
    """The database serves another portfolio, or the same one with other features."""


async def fetch_portfolio_name(connection: Connection) -> str | None:
    """Of the portfolio that is served; None before the first service has started. Not in a transaction."""
    try:
        name: str | None = await connection.fetchval(SELECT_PORTFOLIO)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    return name


async def fetch_schema_hash(connection: Connection) -> str | None:
    """Of the features that the database was begun with; None before the first service has started."""
    found: str | None = await connection.fetchval(SELECT_SCHEMA_HASH)
    return found


# There from the first change that `loanloop restore` makes to a database until its last.
RESTORING = "public.loanloop_restoring"


class HalfRestored(LoanloopError):
    """A restore into this database has begun and not ended."""


async def check_installation(pool: Pool, portfolio: Portfolio) -> None:
    """Record what this database serves, once.

    Raises InstallationMismatch, HalfRestored, or Unavailable before the migrations.
    """
    try:
        await pool.execute(
            INSERT_INSTALLATION,
            portfolio.name,
            portfolio.schema_hash,
        )
        found = await pool.fetchrow(SELECT_INSTALLATION)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as missing:
        raise Unavailable("the schema loan_data is missing: run `loanloop migrate`") from missing
    # After the row is written: of a service that looks for a restore and a restore that looks for rows, one sees the
    # other.
    if await pool.fetchval("SELECT to_regclass($1) IS NOT NULL", RESTORING):
        raise HalfRestored(
            "a restore into this database has not ended: wait for it, or, where it was broken off, run the same "
            "`loanloop restore` again."
        )
    if found is None:
        raise Unavailable("the row of loan_data.installation was removed meanwhile")
    if found["portfolio"] != portfolio.name:
        raise InstallationMismatch(
            f"this database serves portfolio {found['portfolio']!r}, the settings say {portfolio.name!r}; "
            f"{how_to_name(found['portfolio'])}, or use another database."
        )
    if found["schema_hash"] != portfolio.schema_hash:
        raise InstallationMismatch(
            f"the features of portfolio {portfolio.name!r} are not those this database was begun with; "
            "restore the portfolio file or use another database."
        )
