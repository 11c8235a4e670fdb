"""Where a production was stopped, so that the same command goes on there."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from loanloop_common.errors import LoanloopError
from loanloop_ingest.loan_files import file_sha256

from loanloop.produce.selection import Selection
from loanloop.produce.sender import Acknowledged
from loanloop.runtime.data_directory import write_private


class _Kept(msgspec.Struct):
    sent: dict[str, Annotated[int, msgspec.Meta(ge=0)]]
    now: Annotated[datetime, msgspec.Meta(tz=True)]


_KEPT = msgspec.json.Decoder(_Kept)


@dataclass
class Bookmark:
    """A file of its own for each content, destination and choice of rows."""

    path: Path
    told: dict[str, Any] = field(default_factory=dict)

    def found(self, selection: Selection) -> tuple[Acknowledged, Selection]:
        """Where to go on, with the `now` of the first run: the events must be the same. Raises LoanloopError."""
        try:
            kept = _KEPT.decode(self.path.read_bytes())
            # Earlier versions kept no such count, and said of all that they had their outcomes.
            sent = {"with_outcome": kept.sent.get("loans", 0) if selection.history else 0} | kept.sent
            return Acknowledged(**sent), replace(selection, now=kept.now)
        except FileNotFoundError:
            return Acknowledged(), selection
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as damaged:
            raise LoanloopError(
                f"{self.path} says no more how far the file was sent: send it from its beginning with --restart "
                "(events that were sent already are told apart and change nothing)"
            ) from damaged

    def keep(self, done: Acknowledged, selection: Selection) -> None:
        """Raises LoanloopError: events that nobody remembers as sent would all be sent again."""
        kept = {**self.told, "sent": asdict(done), "now": selection.now.isoformat()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_private(self.path, json.dumps(kept, indent=2))
        except OSError as failed:
            raise LoanloopError(
                f"stopped, as {self.path.parent} can't keep how far the file was sent ({failed.strerror or failed}): "
                "make room there, or name another folder with --data-dir. "
                "The same command goes on where it kept that last."
            ) from failed

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def bookmark_in(folder: Path, file: Path, selection: Selection, *, topic_id: str, portfolio: str) -> Bookmark:
    told = {
        "file_sha256": file_sha256(file).hex(),
        "topic_id": topic_id,
        "portfolio": portfolio,
        **{name: str(value) for name, value in asdict(selection).items() if name != "now"},
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    return Bookmark(folder / f"{digest}.json", told | {"file": str(file)})
