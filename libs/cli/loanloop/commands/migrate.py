"""`loanloop migrate`: bring a database's schema up to date."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def migrate(
    postgres: Annotated[
        str | None, typer.Option(metavar="DSN", help="The database; without it, that of the running `loanloop up`.")
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Data folder of the running `loanloop up`.")] = Path(".loanloop"),
) -> None:
    """Apply the migrations that a database lacks.

    `loanloop up` does this itself; on your own PostgreSQL run it once before the services start.

    **Example:** `loanloop migrate --postgres postgresql://loanloop@db.example/loanloop`
    """
    from loanloop_common.postgres import migrate as apply_migrations

    from loanloop.runtime.data_directory import nothing_runs, running_state

    if postgres is None:
        run = running_state(data_dir)
        if run is None:
            raise nothing_runs(data_dir, "or name a database with --postgres DSN")
        postgres = run.postgres_dsn()
    print(f"{asyncio.run(apply_migrations(postgres))} migrations applied")
