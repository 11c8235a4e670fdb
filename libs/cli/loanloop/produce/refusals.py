"""Says which rows of a file are refused: the first by their place, all of them by field and rule."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from loanloop_ingest.domain.file_events import RefusedRow
from loanloop_ingest.loan_files import place_in
from rich.console import Console

_SHOWN_OF_A_KIND = 3
_SHOWN = 20
_KINDS_COUNTED = 10


@dataclass
class Refusals:
    """Hears of each refused row. Rows that the same field and rule refuse are of one kind."""

    console: Console
    file: Path
    n: int = 0
    _n_shown: int = 0
    _by_kind: Counter[tuple[str | None, str]] = field(default_factory=Counter)

    def __call__(self, row: RefusedRow) -> None:
        kind = row.field, row.rule
        self.n += 1
        self._by_kind[kind] += 1
        if self._by_kind[kind] <= _SHOWN_OF_A_KIND and self._n_shown < _SHOWN:
            self._n_shown += 1
            self._say(f"{self.file.name}, {place_in(self.file, row.number)}: {row.in_words}")
        elif self.n == self._n_shown + 1:
            self._say("further rows like these are only counted")

    def say_counts(self) -> None:
        """Once all rows are read; nothing where each was said already."""
        if self.n == self._n_shown:
            return
        self._say("refused rows by field and rule:")
        commonest = self._by_kind.most_common(_KINDS_COUNTED)
        for (name, rule), n in commonest:
            self._say(f"{n:>9,}  {name}: {rule}" if name else f"{n:>9,}  {rule}")
        if n_others := self.n - sum(n for _, n in commonest):
            self._say(f"{n_others:>9,}  of other kinds")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True, style="yellow")
