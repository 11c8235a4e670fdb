"""`loanloop audit`: does a field of the loans know too much?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loanloop_common.portfolio import Portfolio
    from loanloop_ingest.loan_files import LoanFile
    from loanloop_trainer.domain.audit import Finding


def audit(
    file: Annotated[Path, typer.Argument(help="Loans with their outcomes, CSV or Parquet.")],
    portfolio: Annotated[str, typer.Option(help="`sba`, `sba_application` or a portfolio file.")] = "sba",
) -> None:
    """How well each field alone tells the outcome of the newest 30 % of the loans, judged by the older ones.

    A field that nearly decides is most likely written or edited after the outcome. A training does the same audit.

    **Examples**

    - `loanloop audit portfolios/sba/loans.parquet`
    - `loanloop audit loans.csv --portfolio my_loans.toml`
    """
    from loanloop_common.portfolio_file import load_portfolio
    from loanloop_ingest.loan_files import open_loan_file

    chosen = load_portfolio(portfolio)
    loans = _read(open_loan_file(file), chosen)
    _show(chosen, loans, _findings(loans, chosen))


@dataclass
class _Loans:
    columns: dict[str, list[Any]]
    defaulted: list[bool] = field(default_factory=list)
    occurred_at: list[Any] = field(default_factory=list)
    n_refused: int = 0
    n_without_outcome: int = 0


def _read(loan_file: "LoanFile", portfolio: "Portfolio") -> _Loans:
    from datetime import UTC, datetime

    from loanloop_common.loan_codec import LoanCodec
    from loanloop_ingest.domain.file_events import RefusedRow, RowReader, loan_events
    from rich.progress import Progress

    reader, codec = RowReader(portfolio), LoanCodec(portfolio)
    reader.check_columns(loan_file.columns, outcomes=True)
    loans = _Loans({name: [] for name in portfolio.features})

    def refuse(row: RefusedRow) -> None:  # noqa: ARG001  # the count says enough here; `produce` names the rows
        loans.n_refused += 1

    with Progress(transient=True) as bar:
        task = bar.add_task("reading", total=loan_file.n_rows)
        for chunk in loan_file.chunks():
            now = datetime.now(UTC)
            events = loan_events(chunk.rows, reader, now=now, refuse=refuse, history=True, first=chunk.first)
            _add(loans, [codec.decode(event.value) for event in events])
            bar.advance(task, len(chunk.rows))
    return loans


def _add(loans: _Loans, decoded: Sequence[Any]) -> None:
    known = [loan for loan in decoded if loan.outcome is not None]
    loans.n_without_outcome += len(decoded) - len(known)
    for name, column in loans.columns.items():
        column.extend(getattr(loan.features, name) for loan in known)
    loans.defaulted.extend(loan.outcome.defaulted for loan in known)
    loans.occurred_at.extend(loan.occurred_at.replace(tzinfo=None) for loan in known)


def _findings(loans: _Loans, portfolio: "Portfolio") -> "list[Finding]":
    import numpy as np
    from loanloop_common.errors import LoanloopError
    from loanloop_trainer.domain.audit import audit_features
    from loanloop_trainer.domain.split import TooFewDays

    occurred_at, defaulted = np.array(loans.occurred_at, "datetime64[us]"), np.array(loans.defaulted, np.bool_)
    try:
        return audit_features(loans.columns, defaulted, occurred_at, numbers=portfolio.numbers)
    except TooFewDays as too_few:
        raise LoanloopError(f"these loans can't be audited out of time: {too_few}") from too_few


def _show(portfolio: "Portfolio", loans: _Loans, findings: "list[Finding]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("field", "ROC-AUC alone", "known at", "the model sees it", title=f"{portfolio.name}, out of time")
    for finding in findings:
        shown = "–" if finding.roc_auc is None else f"{finding.roc_auc:.3f}"
        seen = "yes" if finding.feature in portfolio.model_inputs else "no"
        style = "yellow" if finding.warning else ""
        table.add_row(finding.feature, shown, portfolio.features[finding.feature].known_at, seen, style=style)
    console.print(table)
    console.print(
        f"{len(loans.defaulted):,} loans with an outcome, {sum(loans.defaulted):,} of them defaulted; "
        f"{loans.n_without_outcome:,} without one and {loans.n_refused:,} refused rows left out."
    )
    for finding in findings:
        if finding.warning:
            console.print(f"[yellow]Warning:[/yellow] {escape(finding.warning)}.")
    for name, reason in portfolio.warnings:
        console.print(f"[yellow]{name} is allowed by the portfolio all the same:[/yellow] {escape(reason)}.")
