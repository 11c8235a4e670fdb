"""Where the files that ship with the product lie: inside the package when installed, else in the repository."""

from pathlib import Path

_PACKAGED = Path(__file__).parent / "resources"
_REPOSITORY = Path(__file__).parents[3]


def resource_folder(name: str) -> Path:
    """The folder `name` (migrations, portfolios, contracts)."""
    packaged = _PACKAGED / name
    return packaged if packaged.is_dir() else _REPOSITORY / name


SAMPLE = resource_folder("portfolios") / "sba" / "loans.parquet"  # of real loans
