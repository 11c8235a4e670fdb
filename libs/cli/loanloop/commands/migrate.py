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

    from loanloop.runtime.data_directory import running_state
    from loanloop.runtime.problems import CannotRun

    if postgres is None:
        run = running_state(data_dir)
        if run is None:
            raise CannotRun(f"nothing runs on {data_dir}: name a database with --postgres DSN, or start `loanloop up`.")
        postgres = run.postgres_dsn()
    print(f"{asyncio.run(apply_migrations(postgres))} migrations applied")
