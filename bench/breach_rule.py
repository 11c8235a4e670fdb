"""Does the breach rule sleep until spring 2008 and wake in time? On samples of real loans, by the product's own rule.

    python bench/breach_rule.py LOANS.parquet [--seeds 1 2 3 4 5] [--share 0.25] [--confidence 0.9] [--days 3]

LOANS.parquet has the columns of the portfolio's features, with loan_id, approved_at and defaulted. A gradient boosting
model is trained once a sample on the loans of 2002 to 2004 (threshold by F1 on the newest tenth), then frozen; each
later loan's outcome counts 30 days after its approval, as in the demo.
"""

import argparse
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from loanloop_common.portfolio import Portfolio, load_portfolio
from loanloop_evaluator.domain.breach import BreachRule, turns_of
from loanloop_evaluator.domain.clock import days_between
from loanloop_evaluator.domain.metrics import Scored, metric_of
from loanloop_evaluator.domain.rolling import DecidedOutcomes, RollingRule, daily_rows
from sklearn.ensemble import HistGradientBoostingClassifier

TRAIN_FROM, TRAIN_TO = date(2002, 1, 1), date(2004, 12, 31)
FIRST_DAY = date(2005, 1, 31)


class Loans:
    def __init__(self, path: Path, portfolio: Portfolio, until: date) -> None:
        names = [name for name in portfolio.model_inputs if name in portfolio.features]
        table = pq.read_table(path, columns=["approved_at", "defaulted", *names])
        approved = table["approved_at"].cast("int32").to_numpy()
        chosen = (approved >= _epoch_day(TRAIN_FROM)) & (approved <= _epoch_day(until))
        table = table.filter(chosen)
        self.approved = approved[chosen]
        self.defaulted = np.asarray(table["defaulted"].to_numpy(zero_copy_only=False), dtype=bool)
        columns = [_codes(table[name].to_pylist(), portfolio.features[name].kind) for name in names]
        self.x = np.column_stack(columns)
        self.categorical = [portfolio.features[name].kind != "number" for name in names]


def _codes(values: list[Any], kind: str) -> Any:
    if kind == "number":
        return np.array([np.nan if v is None else float(v) for v in values])
    _, codes, counts = np.unique([str(v) for v in values], return_inverse=True, return_counts=True)
    ranks = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
    return np.minimum(ranks[codes], 199).astype(float)  # the frequent ones; the rest share one code


def _epoch_day(day: date) -> int:
    return day.toordinal() - date(1970, 1, 1).toordinal()


def frozen_model(loans: Loans, sample: Any, seed: int) -> tuple[Any, float]:
    """Scores of all loans, by a model of 2002 to 2004, and its threshold."""
    rows = np.flatnonzero(sample & (loans.approved <= _epoch_day(TRAIN_TO)))
    rows = rows[np.argsort(loans.approved[rows], kind="stable")]
    fit, validate = np.split(rows, [int(len(rows) * 0.9)])
    model = HistGradientBoostingClassifier(max_iter=200, categorical_features=loans.categorical, random_state=seed)
    model.fit(loans.x[fit], loans.defaulted[fit])
    scores = model.predict_proba(loans.x)[:, 1]
    thresholds = np.linspace(0.05, 0.95, 91)
    f1 = [_f1(scores[validate], loans.defaulted[validate], t) for t in thresholds]
    return scores, float(thresholds[int(np.argmax(f1))])


def _f1(scores: Any, defaulted: Any, threshold: float) -> float:
    return metric_of(Scored(scores, scores >= threshold, defaulted), "f1") or 0.0


def simulate(loans: Loans, seed: int, share: float, rules: list[tuple[RollingRule, BreachRule]]) -> dict[str, Any]:
    sample = np.random.default_rng(seed).random(len(loans.approved)) < share
    scores, threshold = frozen_model(loans, sample, seed)
    later = np.flatnonzero(sample & (loans.approved > _epoch_day(TRAIN_TO)))
    later = later[np.argsort(loans.approved[later], kind="stable")]
    scored = Scored(scores[later], scores[later] >= threshold, loans.defaulted[later])
    counts_on = loans.approved[later] + _epoch_day(date(1970, 1, 31)) + date(1970, 1, 1).toordinal()
    outcomes = DecidedOutcomes(counts_on.astype(np.int64), scored)
    last = date.fromordinal(int(outcomes.day[-1]))
    return {
        "seed": seed,
        "n_sample": int(sample.sum()),
        "threshold": threshold,
        "f1_by_quarter": _by_quarter(outcomes, last),
        "breaches": {_name(*rule): _breaches(outcomes, last, *rule) for rule in rules},
    }


def _name(rolling: RollingRule, breach: BreachRule) -> str:
    return f"{rolling.confidence:g} × {breach.days} days"


def _breaches(outcomes: DecidedOutcomes, last: date, rolling: RollingRule, breach: BreachRule) -> list[str]:
    """Days on which a breach opens, each time after the one before has recovered."""
    closing = days_between(FIRST_DAY, last)
    windows = [row.window for row in daily_rows("v1", outcomes, closing, rolling)]
    turns = turns_of(windows, closing, is_open=False, not_before=FIRST_DAY, rule=breach)
    return [turn.at.day.isoformat() for turn in turns if turn.kind == "breach"]


def _by_quarter(outcomes: DecidedOutcomes, last: date) -> dict[str, float]:
    figures, first = {}, date(2005, 1, 1)
    while first <= last - timedelta(days=30):
        end = date(first.year + first.month // 10, (first.month + 3) % 12, 1)
        part = outcomes.between(first + timedelta(days=30), end + timedelta(days=29))
        figures[f"{first.year}Q{first.month // 3 + 1}"] = round(metric_of(part, "f1") or 0.0, 3)
        first = end
    return figures


def main() -> None:
    options = _options()
    policy = load_portfolio("sba").policy
    rules = [
        (RollingRule(policy.metric, policy.window_days, policy.min_outcomes, c), BreachRule(policy.breach_below, d))
        for c in options.confidence
        for d in options.days
    ]
    loans = Loans(options.loans, load_portfolio("sba"), date.fromisoformat(options.until))
    results = []
    for seed in options.seeds:
        results.append(simulate(loans, seed, options.share, rules))
        print(json.dumps(results[-1]), flush=True)
    for rolling, breach in rules:
        opened = [result["breaches"][_name(rolling, breach)] for result in results]
        early = sum(any(day < "2008" for day in days) for days in opened)
        in_time = sum(any("2008" <= day <= "2008-09-30" for day in days) for days in opened)
        print(f"{_name(rolling, breach)}: false alarm before 2008 in {early} of {len(opened)}, ", end="")
        print(f"opens by the end of September 2008 in {in_time} of {len(opened)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loans", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--confidence", type=float, nargs="+", default=[0.9])
    parser.add_argument("--days", type=int, nargs="+", default=[3])
    parser.add_argument("--until", default="2008-11-30", help="The last approval")
    return parser.parse_args()


if __name__ == "__main__":
    main()
