"""The loans of a file, for the commands that learn from one: audit and tune."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Portfolio
from loanloop_ingest.domain.file_events import RefusedRow, RowReader, loan_events
from loanloop_ingest.loan_files import LoanFile
from rich.console import Console
from rich.progress import Progress


@dataclass
class LabelledLoans:
    """And those of the same file without an outcome, `unlabelled`."""

    columns: dict[str, list[Any]]
    unlabelled: dict[str, list[Any]]
    defaulted: list[bool] = field(default_factory=list)
    occurred_at: list[Any] = field(default_factory=list)
    unlabelled_at: list[Any] = field(default_factory=list)
    n_refused: int = 0

    @property
    def n_without_outcome(self) -> int:
        return len(self.unlabelled_at)


def read_labelled_loans(loan_file: LoanFile, portfolio: Portfolio) -> LabelledLoans:
    reader, codec = RowReader(portfolio), LoanCodec(portfolio)
    reader.check_columns(loan_file.columns, outcomes=True)
    loans = LabelledLoans({name: [] for name in portfolio.features}, {name: [] for name in portfolio.features})

    def refuse(row: RefusedRow) -> None:  # noqa: ARG001  # the count says enough here; `produce` names the rows
        loans.n_refused += 1

    with Progress(transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task("reading", total=loan_file.n_rows)
        for chunk in loan_file.chunks():
            now = datetime.now(UTC)
            events = loan_events(chunk.rows, reader, now=now, refuse=refuse, history=True, first=chunk.first)
            _add(loans, [codec.decode(event.value) for event in events])
            bar.advance(task, len(chunk.rows))
    return loans


def _add(loans: LabelledLoans, decoded: Sequence[Any]) -> None:
    known = [loan for loan in decoded if loan.outcome is not None]
    unknown = [loan for loan in decoded if loan.outcome is None]
    loans.defaulted.extend(loan.outcome.defaulted for loan in known)
    for columns, times, part in (
        (loans.columns, loans.occurred_at, known),
        (loans.unlabelled, loans.unlabelled_at, unknown),
    ):
        times.extend(loan.occurred_at.replace(tzinfo=None) for loan in part)
        for name, column in columns.items():
            column.extend(getattr(loan.features, name) for loan in part)
