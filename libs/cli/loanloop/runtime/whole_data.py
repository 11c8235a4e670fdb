"""Whether a data folder's Kafka and PostgreSQL belong together.

On an empty database beside a Kafka that has been read, services would go on behind loans that nobody has stored. A
restore leaves a file in a folder without a database before it starts the servers; from its first statement on the
database says itself that a restore works on it.
"""

from pathlib import Path

from loanloop.runtime.data_directory import write_private
from loanloop.runtime.problems import CannotRun

_NAME = "restoring"


def begin_restore(folder: Path) -> None:
    write_private(folder / _NAME, "A restore was begun here. It is begun again by the same command.\n")


def end_restore(folder: Path) -> None:
    (folder / _NAME).unlink(missing_ok=True)


def refuse_parts(folder: Path, *, has_database: bool) -> None:
    """Raises CannotRun where a restore was broken off, or where loans are in Kafka and no database is there."""
    if (folder / _NAME).exists():
        raise CannotRun(
            f"A restore into {folder} was broken off: run it again (`loanloop restore BACKUP --data-dir {folder}`), "
            "or name another folder with --data-dir."
        )
    if not has_database and any((folder / "kafka" / "data").glob("loan.received-*")):
        raise CannotRun(
            f"{folder} has Kafka's loans and no database that has stored them: restore a backup "
            f"(`loanloop restore BACKUP --data-dir {folder}`), or move {folder / 'kafka'} away too "
            "and send the loans again."
        )
