"""The labelled loans of a file, for the commands that learn from one: audit and tune."""

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
    columns: dict[str, list[Any]]
    defaulted: list[bool] = field(default_factory=list)
    occurred_at: list[Any] = field(default_factory=list)
    n_refused: int = 0
    n_without_outcome: int = 0


def read_labelled_loans(loan_file: LoanFile, portfolio: Portfolio) -> LabelledLoans:
    reader, codec = RowReader(portfolio), LoanCodec(portfolio)
    reader.check_columns(loan_file.columns, outcomes=True)
    loans = LabelledLoans({name: [] for name in portfolio.features})

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
    loans.n_without_outcome += len(decoded) - len(known)
    for name, column in loans.columns.items():
        column.extend(getattr(loan.features, name) for loan in known)
    loans.defaulted.extend(loan.outcome.defaulted for loan in known)
    loans.occurred_at.extend(loan.occurred_at.replace(tzinfo=None) for loan in known)
