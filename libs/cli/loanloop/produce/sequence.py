"""The events of a file in their order, which follows from file and selection alone: a production that was stopped goes
on by leaving out the events already sent."""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from loanloop_common.errors import InvalidMessage
from loanloop_ingest.domain.file_events import FileEvent, Refuse, RefusedRow, Row, RowReader, refused_row
from loanloop_ingest.loan_files import LoanFile

from loanloop.produce.selection import Outcomes, Selection


@dataclass
class EventSequence:
    """Iterates over the events of a file; `rows_read` tells how far it has come (of `rows_to_read`).

    `n_outcomes` counts the rows whose outcome is sent, in the loan or by itself.
    """

    file: LoanFile
    reader: RowReader
    selection: Selection
    refuse: Refuse
    rows_read: int = 0
    n_outcomes: int = 0
    _refused: set[int] = field(default_factory=set)

    @property
    def rows_to_read(self) -> int:
        return self.file.n_rows * (2 if self._sends_outcomes is Outcomes.AFTER else 1)

    @property
    def _sends_outcomes(self) -> Outcomes:
        return Outcomes.NONE if self.selection.history else self.selection.outcomes

    def __iter__(self) -> Iterator[FileEvent]:
        match self._sends_outcomes:
            case Outcomes.NONE:
                return self._loans()
            case Outcomes.DUE:
                return self._as_they_fall_due()
            case Outcomes.AFTER:
                return itertools.chain(self._loans(), self._outcomes())
            case Outcomes.ONLY:
                return self._outcomes_alone()

    def _loans(self) -> Iterator[FileEvent]:
        for number, row in self._selected():
            loan, _ = self._loan_and_outcome(number, row)
            if loan:
                yield loan

    def _outcomes(self) -> Iterator[FileEvent]:
        for number, row in self._selected():
            # The outcome of a loan that was refused would wait for it for ever.
            if number not in self._refused and (event := self._outcome(number, row)):
                yield event

    def _outcomes_alone(self) -> Iterator[FileEvent]:
        for number, row in self._selected():
            _, outcome = self._loan_and_outcome(number, row)
            if outcome:
                yield outcome

    def _as_they_fall_due(self) -> Iterator[FileEvent]:
        pending: list[tuple[datetime, int, FileEvent]] = []
        for number, row in self._selected():
            loan, outcome = self._loan_and_outcome(number, row)
            if loan is None:
                continue
            while pending and pending[0][0] <= loan.due_at:
                yield heapq.heappop(pending)[2]
            yield loan
            if outcome:
                heapq.heappush(pending, (outcome.due_at, number, outcome))
        while pending:
            yield heapq.heappop(pending)[2]

    def _selected(self) -> Iterator[tuple[int, Row]]:
        return itertools.islice(self._chosen(), self.selection.limit)

    def _chosen(self) -> Iterator[tuple[int, Row]]:
        for chunk in self.file.chunks():
            for number, row in enumerate(chunk.rows, start=chunk.first):
                self.rows_read += 1
                if isinstance(row, RefusedRow):
                    self._refuse(row)
                elif row is not None and self._within_dates(row):
                    yield number, row

    def _within_dates(self, row: Row) -> bool:
        since, until = self.selection.since, self.selection.until
        if since is None and until is None:
            return True
        occurred_at = self.reader.occurred_at(row)
        if occurred_at is None:
            return True  # to be refused by name, not passed over
        return (since is None or since <= occurred_at) and (until is None or occurred_at < until)

    def _loan_and_outcome(self, number: int, row: Row) -> tuple[FileEvent | None, FileEvent | None]:
        """The outcome only where outcomes are sent: a row is sent whole or refused whole."""
        selection = self.selection
        try:
            loan = self.reader.loan(row, history=selection.history, now=selection.now)
            sends_outcomes = self._sends_outcomes is not Outcomes.NONE
            outcome = self.reader.outcome(row, now=selection.now) if sends_outcomes else None
        except InvalidMessage as refused:
            self._refuse(refused_row(number, refused))
            return None, None
        self.n_outcomes += outcome is not None or loan.defaulted is not None
        return loan, outcome

    def _outcome(self, number: int, row: Row) -> FileEvent | None:
        try:
            return self.reader.outcome(row, now=self.selection.now)
        except InvalidMessage as refused:
            self._refuse(refused_row(number, refused))
            return None

    def _refuse(self, row: RefusedRow) -> None:
        if row.number not in self._refused:
            self._refused.add(row.number)
            self.refuse(row)
