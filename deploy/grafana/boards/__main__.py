"""`python -m deploy.grafana.boards` writes the dashboards, `--check` says which are not as this code makes them."""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.boards.data import data
from deploy.grafana.boards.loop import loop
from deploy.grafana.boards.services import services

FOLDER = Path(__file__).parents[1] / "dashboards"
BOARDS = {"loop": loop, "services": services, "data": data}


def made() -> dict[Path, str]:
    """Each file with its text."""
    return {FOLDER / f"{name}.json": text_of(board()) for name, board in BOARDS.items()}


def text_of(board: Dashboard) -> str:
    model = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    for shown in [*model["links"], *model["annotations"].get("list", [])]:
        del shown["placement"]  # the SDK's default hides it in a menu
    return json.dumps(model, indent=2, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    files = made()
    if arguments == ["--check"]:
        stale = [path.name for path, text in files.items() if not path.exists() or path.read_text() != text]
        if stale:
            sys.stderr.write(f"{', '.join(stale)}: not what the code makes; run `python -m deploy.grafana.boards`.\n")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for path, text in files.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
