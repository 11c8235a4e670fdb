"""A restore into a data folder: its own Kafka and PostgreSQL are started for it, and stopped again."""

from pathlib import Path

from loanloop_common.portfolio_file import load_portfolio

from loanloop.backups.manifest import Manifest
from loanloop.backups.portfolio_files import put_portfolio
from loanloop.backups.restoring import CannotRestore, Destination, restore_into
from loanloop.runtime.foreground import kafka_settings
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.whole_data import end_restore
from loanloop.telling import Tell


async def restore_embedded(data_dir: Path, backup: Path, manifest: Manifest, tell: Tell) -> None:
    """Raises CannotRestore, GroupInUse, CannotRun or Unavailable."""
    async with EmbeddedInfrastructure(data_dir, progress=tell, restores=True) as installation:

        def settle() -> None:
            source = _portfolio(backup, manifest, installation.directory.path)
            installation.choose_portfolio(source)
            installation.remember(load_portfolio(source))

        destination = Destination(dsn=installation.postgres_dsn, kafka=kafka_settings(installation), settle=settle)
        try:
            await restore_into(destination, backup, manifest, tell)
        except CannotRestore:  # the database has rows, or says itself that a restore has not ended
            end_restore(installation.directory.path)
            raise
        end_restore(installation.directory.path)


def _portfolio(backup: Path, manifest: Manifest, folder: Path) -> str:
    """A preset's name, or the file, from now on in the data folder."""
    if manifest.portfolio_file is None:
        return manifest.portfolio
    return str(put_portfolio(backup, manifest.portfolio_file, folder).absolute())
