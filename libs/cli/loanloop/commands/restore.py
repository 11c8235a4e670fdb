"""`loanloop restore`: a backup into an empty installation."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from loanloop.options import DataDir
from loanloop.telling import silence_aiokafka, tell


def restore(
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="The folder of one backup.")],
    *,
    kafka: Annotated[
        str | None, typer.Option(metavar="BOOTSTRAP", help="Of an installation on this Kafka; needs --postgres too.")
    ] = None,
    postgres: Annotated[
        str | None, typer.Option(metavar="DSN", help="Into this empty PostgreSQL; needs --kafka too.")
    ] = None,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Put a backup into an empty installation; `loanloop up` or the services go on from there.

    Without `--kafka` and `--postgres`, and where no LOANLOOP_POSTGRES__DSN is set, the installation is that of the data
    folder, whose Kafka and PostgreSQL are started for the time of the restore.

    The services go on in Kafka where they were before the backup was taken, where Kafka is still the same: what came
    later comes again, and is stored and decided once. On a new Kafka they begin at the start. A backup of an older
    version is brought up to date. A restore that was broken off is begun again by the same command; until it has ended
    no service starts.

    **Examples**

    - `loanloop restore /mnt/backups/loanloop-sba-20261126T030000Z --data-dir /data/loans`
    - `loanloop restore BACKUP --kafka broker:9092 --postgres postgresql://loanloop:secret@db/loanloop`
    """
    if bool(kafka) != bool(postgres):
        raise typer.BadParameter("--kafka and --postgres go together: give both or neither.")
    from loanloop.runtime.foreground import until_signalled

    if asyncio.run(until_signalled(_restore(backup, kafka, postgres, data_dir))):
        tell("stopped: the restore has not ended; run the same command again.")
        raise typer.Exit(130)


async def _restore(backup: Path, kafka: str | None, postgres: str | None, data_dir: Path) -> None:
    from loanloop.backups.checking import check_backup
    from loanloop.backups.restoring import Destination, refuse_unknown_schema, restore_into
    from loanloop.backups.restoring_embedded import restore_embedded
    from loanloop.runtime.data_directory import running_state
    from loanloop.runtime.problems import CannotRun
    from loanloop.target import find_target, kafka_at

    silence_aiokafka()
    manifest = await asyncio.to_thread(check_backup, backup, tell)
    refuse_unknown_schema(manifest)
    if running_state(data_dir):
        raise CannotRun(f"loanloop runs on {data_dir}: stop it first, or name another folder with --data-dir.")
    target = find_target(data_dir)
    if not postgres and "postgres" not in target.settings.model_fields_set:
        await restore_embedded(data_dir, backup, manifest, tell)
        print(f"restored; go on with: loanloop up --data-dir {data_dir}")
        return
    given = kafka_at(kafka, target.settings) if kafka else target.kafka()
    await restore_into(Destination(dsn=target.dsn(postgres), kafka=given), backup, manifest, tell)
    if manifest.portfolio_file:
        tell(f"The portfolio file is {backup / manifest.portfolio_file}: LOANLOOP_PORTFOLIO must name it or its like.")
    print("restored; now the services may start")
