"""The portfolio file of one's own, with those that it extends, into a backup and back."""

import os
import shutil
import tomllib
from pathlib import Path

from loanloop_common.errors import LoanloopError
from loanloop_common.portfolio_file import PortfolioInvalid, load_portfolio

from loanloop.backups.durable_files import write_synced

FOLDER = "portfolio"


class OtherPortfolio(LoanloopError):
    """The settings name another portfolio than the one that the database serves."""


def portfolio_source(named: str, served: str, schema_hash: str) -> str:
    """Where the portfolio that the database serves is to be had: the file or preset named, or the preset of its name.

    Raises OtherPortfolio.
    """
    for source in (named, served):
        try:
            found = load_portfolio(source)
        except PortfolioInvalid:
            continue
        if (found.name, found.schema_hash) == (served, schema_hash):
            return source
    raise OtherPortfolio(
        f"the database serves portfolio {served!r}, and {named} is not the file it was begun with: "
        "name that file in LOANLOOP_PORTFOLIO, so that it is kept with the loans."
    )


def copy_portfolio(source: str, backup: Path) -> dict[str, Path]:
    """Copies the file `source` and those that it extends, as they lie beside each other; nothing of a preset.

    Their names in the backup, the file itself first.
    """
    if not source.endswith(".toml"):
        return {}
    chain = _chain(Path(source).resolve())
    above = Path(os.path.commonpath([path.parent for path in chain]))
    copies = {f"{FOLDER}/{path.relative_to(above)}": path for path in chain}
    for name, path in copies.items():
        (backup / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_synced(backup / name, path.read_bytes())
    return copies


def _chain(path: Path) -> list[Path]:
    parent = tomllib.loads(path.read_text(encoding="utf-8")).get("extends")
    return [path, *(_chain((path.parent / str(parent)).resolve()) if parent else ())]


def put_portfolio(backup: Path, name: str, folder: Path) -> Path:
    """Into `folder`, which may hold those of an earlier try; where the file itself lies."""
    shutil.copytree(backup / FOLDER, folder / FOLDER, dirs_exist_ok=True)
    return folder / name
