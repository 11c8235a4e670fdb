"""Does the breach rule sleep until spring 2008 and wake in time? On samples of real loans, by the product's own rule.

    python -m bench.breach_rule LOANS.parquet [--seeds 1 2 3 4 5] [--confidence 0.8 0.9] [--days 3 5]

LOANS.parquet has the columns of the portfolio's features, with approved_at and defaulted. A model is trained once a
sample on the loans of 2002 to 2004 (threshold by F1 on the newest tenth of them), then frozen; each later loan's
outcome counts once it has matured by the policy, as in the demo. The model is the product's own: minutes a sample.
"""

import argparse
import json
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from loanloop_common.bundle import declines, unpack
from loanloop_common.features import Floats
from loanloop_common.portfolio import Policy, Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.scoring import Scorer
from loanloop_evaluator.domain.breach import BreachRule, turns_of
from loanloop_evaluator.domain.clock import days_between
from loanloop_evaluator.domain.metrics import metric_of
from loanloop_evaluator.domain.rolling import DecidedOutcomes, RollingRule, WindowValue, daily_rows
from loanloop_evaluator.domain.scored import Scored
from loanloop_trainer.model import TrainingData, export, train

from bench.loans import outcomes_of

TRAIN_FROM, TRAIN_TO = date(2002, 1, 1), date(2004, 12, 31)
LATER_FROM = date(2005, 1, 1)


class Loans:
    """In order of approval; the first `n_train` are those of 2002 to 2004."""

    def __init__(self, table: Any, portfolio: Portfolio) -> None:
        self.portfolio = portfolio
        self.approved = table["approved_at"].cast("int32").to_numpy()
        self.defaulted = np.asarray(table["defaulted"].to_numpy(zero_copy_only=False), dtype=bool)
        self.columns = {name: table[name].to_pylist() for name in portfolio.features}
        self.matures_in = timedelta(days=portfolio.policy.maturity_days)
        self.n_train = int(np.searchsorted(self.approved, _epoch_day(TRAIN_TO), side="right"))

    def part(self, chosen: slice) -> dict[str, list[Any]]:
        return {name: column[chosen] for name, column in self.columns.items()}


def read_loans(path: Path, portfolio: Portfolio, until: date) -> Any:
    """By approval. Raises OutcomesMissing: a loan whose end is unknown is not a repaid one."""
    table = pq.read_table(path, columns=["approved_at", "defaulted", *portfolio.features])
    approved = table["approved_at"].cast("int32").to_numpy()
    chosen = (approved >= _epoch_day(TRAIN_FROM)) & (approved <= _epoch_day(until))
    loans = table.filter(chosen).take(np.argsort(approved[chosen], kind="stable"))
    outcomes_of(loans, "defaulted", path)
    return loans


def _epoch_day(day: date) -> int:
    return day.toordinal() - date(1970, 1, 1).toordinal()


def scored(loans: Loans, seed: int) -> tuple[Floats, float]:
    """Probabilities of the loans after 2004 by the portfolio's model, through the bundle, and the threshold."""
    older = slice(loans.n_train)
    moments = loans.approved[older].astype("datetime64[D]").astype("datetime64[us]")
    data = TrainingData(loans.part(older), loans.defaulted[older], moments)
    made = train(data, loans.portfolio, seed=seed, threads=2)
    bundle = unpack(export(made, version="v1", code_version="bench"))
    later = bundle.encoder.encode_columns(loans.part(slice(loans.n_train, None)))
    scorer = Scorer(bundle, threads=2)
    try:
        return scorer.score(later), bundle.manifest.threshold
    finally:
        scorer.close()


def simulate(loans: Loans, seed: int, rules: list[tuple[RollingRule, BreachRule]]) -> dict[str, Any]:
    scores, threshold = scored(loans, seed)
    approved_on = loans.approved[loans.n_train :].astype(np.int64) + date(1970, 1, 1).toordinal()
    counts_on = approved_on + loans.matures_in.days
    outcomes = DecidedOutcomes(counts_on, Scored(scores, declines(scores, threshold), loans.defaulted[loans.n_train :]))
    last = date.fromordinal(int(outcomes.day[-1]))
    days = days_between(LATER_FROM + loans.matures_in, last)
    windows = {
        rolling: [row.window for row in daily_rows("v1", outcomes, days, rolling)]
        for rolling in dict.fromkeys(rolling for rolling, _ in rules)
    }
    return {
        "seed": seed,
        "n_train": loans.n_train,
        "threshold": round(threshold, 3),
        "f1_by_quarter": by_quarter(outcomes, last, loans.matures_in),
        "breaches": {_name(rolling, breach): _breaches(windows[rolling], breach) for rolling, breach in rules},
    }


def _name(rolling: RollingRule, breach: BreachRule) -> str:
    return f"{rolling.confidence:g} × {breach.days} days"


def _breaches(windows: list[WindowValue], rule: BreachRule) -> list[str]:
    """Days on which a breach opens, each time after the one before has recovered."""
    closing = [window.day for window in windows]
    turns = turns_of(windows, closing, is_open=False, not_before=LATER_FROM, rule=rule)
    return [turn.at.day.isoformat() for turn in turns if turn.kind == "breach"]


def by_quarter(outcomes: DecidedOutcomes, last: date, matures_in: timedelta) -> dict[str, float | None]:
    """F1 of the loans approved in each; None where it is undefined."""
    figures: dict[str, float | None] = {}
    first = LATER_FROM
    while first + matures_in <= last:
        end = date(first.year + first.month // 10, (first.month + 3) % 12, 1)
        f1 = metric_of(outcomes.between(first + matures_in, end + matures_in - timedelta(days=1)), "f1")
        figures[f"{first.year}Q{first.month // 3 + 1}"] = None if f1 is None else round(f1, 3)
        first = end
    return figures


def main() -> None:
    portfolio = load_portfolio("sba")
    policy = portfolio.policy
    options = options_of(policy)
    rules = [
        (RollingRule(policy.metric, policy.window_days, policy.min_outcomes, c), BreachRule(policy.breach_below, d))
        for c in options.confidence
        for d in options.days
    ]
    table = read_loans(options.loans, portfolio, date.fromisoformat(options.until))
    results = []
    for seed in options.seeds:
        sample = np.flatnonzero(np.random.default_rng(seed).random(len(table)) < options.share)
        results.append(simulate(Loans(table.take(sample), portfolio), seed, rules))
        print(json.dumps(results[-1]), flush=True)
    for rolling, breach in rules:
        opened = [result["breaches"][_name(rolling, breach)] for result in results]
        early = sum(any(day < "2008" for day in days) for days in opened)
        in_time = sum(any("2008" <= day <= "2008-09-30" for day in days) for days in opened)
        print(f"{_name(rolling, breach)}: false alarm before 2008 in {early} of {len(opened)}, ", end="")
        print(f"opens by the end of September 2008 in {in_time} of {len(opened)}")


def options_of(policy: Policy, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Those of the command line unless they are given; the rule is the policy's where they say nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loans", type=Path)
    by_policy = "The policy's (%(default)s) without it"
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--confidence", type=float, nargs="+", default=[policy.confidence], help=by_policy)
    parser.add_argument("--days", type=int, nargs="+", default=[policy.breach_days], help=by_policy)
    parser.add_argument("--until", default="2008-11-30", help="The last approval")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
