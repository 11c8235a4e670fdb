"""What a database serves: one portfolio, with the features it was begun with."""

import asyncpg

from loanloop_common.errors import LoanloopError, Unavailable
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import how_to_name
from loanloop_common.postgres import Connection, Pool, known_migrations

SELECT_PORTFOLIO = "SELECT portfolio FROM loan_data.installation"

SELECT_SCHEMA_HASH = "SELECT schema_hash FROM loan_data.installation"

INSERT_INSTALLATION = (
    "INSERT INTO loan_data.installation (portfolio, schema_hash) VALUES ($1, $2) ON CONFLICT DO NOTHING"
)

SELECT_INSTALLATION = "SELECT portfolio, schema_hash FROM loan_data.installation"


SELECT_MIGRATIONS = "SELECT migration_id FROM _yoyo_migration"


class InstallationMismatch(LoanloopError):
    """The database serves another portfolio, or the same one with other features, or has a newer schema."""


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

    Raises InstallationMismatch, HalfRestored, or Unavailable before all migrations are applied.
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
    await check_schema(pool)
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


async def check_schema(pool: Pool) -> None:
    """That the database has the schema that this loanloop was written for: no migration less, and none more.

    Raises Unavailable where it is older: it can be migrated meanwhile. Raises InstallationMismatch where it is newer.
    """
    try:
        applied = {row["migration_id"] for row in await pool.fetch(SELECT_MIGRATIONS)}
    except asyncpg.UndefinedTableError:
        applied = set()
    except asyncpg.InsufficientPrivilegeError as refused:  # the newest ones grant that
        raise Unavailable(
            "this user may not read which migrations the database has: run `loanloop migrate` as its owner"
        ) from refused
    known = known_migrations()
    if newer := sorted(applied - set(known)):
        raise InstallationMismatch(
            f"the database has the migration {newer[-1]} of a newer loanloop, and this one knows {known[-1]} at most: "
            "start that version, or a newer one."
        )
    if missing := [name for name in known if name not in applied]:
        raise Unavailable(
            f"the database lacks the migrations {', '.join(missing)}: stop the services of the older version, "
            "then run `loanloop migrate`"
        )
