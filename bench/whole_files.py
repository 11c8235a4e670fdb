"""Files that are there whole or not at all, also where a run is killed or another one writes the same."""

import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".partial")
    partial = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor, not of a path
            file.write(data)
        partial.chmod(0o644)  # mkstemp's is its owner's alone
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
