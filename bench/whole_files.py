"""Files that are there whole or not at all, also where a run is killed or another one writes the same."""

import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".partial", delete=False) as file:
        partial = Path(file.name)
        try:
            file.write(data)
        except BaseException:
            partial.unlink()
            raise
    partial.replace(path)
