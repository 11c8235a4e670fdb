"""`loanloop migrate`: bring a database's schema up to date."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from loanloop.options import DataDir


def migrate(
    postgres: Annotated[
        str | None,
        typer.Option(metavar="DSN", help="Without it, that of the running `loanloop up`, else LOANLOOP_POSTGRES__DSN."),
    ] = None,
    require_roles: Annotated[
        bool, typer.Option(help="Exit code 1 where a service's role is missing and this account may not create it.")
    ] = False,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Apply the migrations that a database lacks, and grant each service's role what it may.

    `loanloop up` does this itself; on your own PostgreSQL run it once before the services start.

    **Example:** `loanloop migrate --postgres postgresql://loanloop@db.example/loanloop`
    """
    from loanloop.target import find_target

    if not asyncio.run(_migrate(find_target(data_dir).dsn(postgres))) and require_roles:
        raise typer.Exit(1)


async def _migrate(dsn: str) -> bool:
    """Whether all roles are there."""
    from loanloop_common.postgres import grant_roles
    from loanloop_common.postgres import migrate as apply_migrations

    print(f"{await apply_migrations(dsn)} migrations applied")
    if missing := await grant_roles(dsn):
        print(
            f"The roles {', '.join(missing)} are not there, and this account may not create them: services that log in "
            "as the owner of the tables need none. For users of their own have a DBA run "
            f"`{' '.join(f'CREATE ROLE {role} NOLOGIN;' for role in missing)}`, then run `loanloop migrate` again."
        )
    return not missing
