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
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Apply the migrations that a database lacks.

    `loanloop up` does this itself; on your own PostgreSQL run it once before the services start.

    **Example:** `loanloop migrate --postgres postgresql://loanloop@db.example/loanloop`
    """
    from loanloop_common.postgres import migrate as apply_migrations

    from loanloop.target import find_target

    print(f"{asyncio.run(apply_migrations(find_target(data_dir).dsn(postgres)))} migrations applied")
