"""`loanloop audit`: does a field of the loans know too much?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loanloop.options import DataDir

if TYPE_CHECKING:
    from loanloop_common.portfolio import Portfolio
    from loanloop_trainer.domain.audit import Finding

    from loanloop.labelled_loans import LabelledLoans


def audit(
    file: Annotated[Path, typer.Argument(help="Loans with their outcomes, CSV or Parquet.")],
    *,
    portfolio: Annotated[
        str | None, typer.Option(help="Preset or file; without it, that of the running `loanloop up`, or `sba`.")
    ] = None,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """How well each field alone tells the outcome of the newest 30 % of the loans, judged by the older ones.

    A field that nearly decides is most likely written or edited after the outcome. A training does the same audit.

    **Examples**

    - `loanloop audit portfolios/sba/loans.parquet`
    - `loanloop audit loans.csv --portfolio my_loans.toml`
    """
    from loanloop_ingest.loan_files import open_loan_file

    from loanloop.labelled_loans import read_labelled_loans
    from loanloop.target import find_target

    chosen = find_target(data_dir).portfolio(portfolio)
    loans = read_labelled_loans(open_loan_file(file), chosen)
    _show(chosen, loans, _findings(loans, chosen))


def _findings(loans: "LabelledLoans", portfolio: "Portfolio") -> "list[Finding]":
    import numpy as np
    from loanloop_common.errors import LoanloopError
    from loanloop_trainer.domain.audit import audit_features
    from loanloop_trainer.domain.split import TooFewDays

    occurred_at, defaulted = np.array(loans.occurred_at, "datetime64[us]"), np.array(loans.defaulted, np.bool_)
    try:
        return audit_features(loans.columns, defaulted, occurred_at, numbers=portfolio.numbers)
    except TooFewDays as too_few:
        raise LoanloopError(f"these loans can't be audited out of time: {too_few}") from too_few


def _show(portfolio: "Portfolio", loans: "LabelledLoans", findings: "list[Finding]") -> None:
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
