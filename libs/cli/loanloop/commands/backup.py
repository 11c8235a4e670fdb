"""`loanloop backup`: the installation as a folder of files."""

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loanloop.options import DataDir
from loanloop.telling import counted, silence_aiokafka, tell

if TYPE_CHECKING:
    from loanloop.backups.folder import Kept
    from loanloop.backups.taking import Source


def backup(
    *,
    to: Annotated[
        Path,
        typer.Option("--to", metavar="FOLDER", envvar="LOANLOOP_BACKUP_FOLDER", help="Where the backups are kept."),
    ] = Path("backups"),
    keep: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Remove older ones of this installation beyond N.")
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(min=0.01, metavar="HOURS", help="Stay, and take one so many hours after the newest one there."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Back nothing up; show the backups that are there.")] = False,
    check: Annotated[
        Path | None, typer.Option(metavar="BACKUP", help="Back nothing up; read all of this backup and check it.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For machines: the result as JSON.")] = False,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Write a backup of database, models and portfolio, while everything runs, and check what was written.

    It holds each table as of one moment, with all models, and how far each service had come in Kafka just before that
    moment: `loanloop restore` sets them back to there, so that no loan is lost where the broker has kept it. Passwords
    are not in it, loans are: keep it on another disk, where few can read it.

    Until all is written and checked it has another name, so a backup that is there is whole.

    **Examples**

    - `loanloop backup --to /mnt/backups --keep 14`
    - `loanloop backup --to /mnt/backups --keep 14 --every 24`
    - `loanloop backup --list --to /mnt/backups`
    - `loanloop backup --check /mnt/backups/loanloop-sba-20261126T030000Z`
    """
    if list_:
        _show_list(to, json=json)
    elif check:
        from loanloop.backups.checking import check_backup

        check_backup(check, print)
    elif every is not None:
        _stay(data_dir, to, keep, timedelta(hours=every), json=json)
    else:
        asyncio.run(_take(data_dir, to, keep, json=json))


def _stay(data_dir: Path, to: Path, keep: int | None, every: timedelta, *, json: bool) -> None:
    """Until a signal. Metrics and health are served where the settings say so."""
    from loanloop_common.telemetry import set_up_logging
    from loanloop_common.telemetry_server import TelemetryServer
    from loanloop_common.vitals import watch_disk

    from loanloop.backups.repeating import Repeating
    from loanloop.backups.taking import newest_taken_at
    from loanloop.runtime.foreground import until_signalled
    from loanloop.target import find_target

    settings = find_target(data_dir).settings
    set_up_logging("backup", log_format=settings.log_format, level=settings.log_level)
    take = partial(_take, data_dir, to, keep, json=json)
    repeating = Repeating(lambda: newest_taken_at(_source(data_dir), to), take, every)
    watch_disk(to)
    where = settings.telemetry
    server = TelemetryServer(lambda: {"backups": repeating.state}, host=where.host, port=where.port)

    async def stay() -> None:
        await server.start()
        tell(f"a backup every {every.total_seconds() / 3600:g} h, metrics at {server.url}/metrics; Ctrl-C ends it")
        try:
            await repeating.run()
        finally:
            await server.stop()

    asyncio.run(until_signalled(stay()))


async def _take(data_dir: Path, to: Path, keep: int | None, *, json: bool) -> "Kept":
    from loanloop.backups.taking import back_up

    kept = await back_up(_source(data_dir), to, keep=keep, tell=tell)
    _say(kept, json=json)
    return kept


def _source(data_dir: Path) -> "Source":
    from loanloop.backups.taking import Source
    from loanloop.target import find_target

    silence_aiokafka()
    target = find_target(data_dir)
    return Source(kafka=target.kafka(), dsn=target.dsn(), portfolio=target.portfolio_source())


def _say(kept: "Kept", *, json: bool) -> None:
    manifest = kept.manifest
    for version in manifest.corrupt_models:
        tell(f"Warning: the bundle of {version} does not match its hash in the database itself.")
    if json:
        _print_json(_facts(kept))
    else:
        print(f"{kept.path}: {_content(kept)}, checked")


def _show_list(folder: Path, *, json: bool) -> None:
    from loanloop.backups.folder import backups_in

    kept, broken = backups_in(folder)
    for sentence in broken:
        tell(f"Warning: {sentence}")
    if json:
        _print_json([_facts(one) for one in kept])
        return
    for one in kept:
        manifest = one.manifest
        print(
            f"{one.path}  {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC  {manifest.portfolio}  "
            f"{_content(one)}, schema {max(manifest.migrations)}"
        )
    if not kept:
        print(f"There is no backup in {folder}.")


def _content(kept: "Kept") -> str:
    manifest = kept.manifest
    rows, models = counted(manifest.n_rows, "row"), counted(manifest.n_models, "model")
    return f"{rows}, {models}, {manifest.n_bytes / 1e6:,.1f} MB"


def _facts(kept: "Kept") -> dict[str, object]:
    manifest = kept.manifest
    return {
        "path": str(kept.path.absolute()),
        "taken_at": manifest.taken_at.isoformat(),
        "portfolio": manifest.portfolio,
        "rows": {table.name: table.n_rows for table in manifest.tables},
        "models": manifest.n_models,
        "corrupt_models": manifest.corrupt_models,
        "bytes": manifest.n_bytes,
        "schema": max(manifest.migrations),
    }


def _print_json(content: object) -> None:
    import msgspec

    print(msgspec.json.encode(content).decode())
