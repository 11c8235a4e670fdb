"""Where a training's window begins, how much of it is learnt from, and what stays unseen for the evaluator's gate."""

import math

import numpy as np
from loanloop_common.portfolio import ModelConfig, Policy

MIN_OF_EACH_CLASS = 50


def gate_size(n_eligible: int, policy: Policy) -> int:
    """The newest loans to leave out: the policy's share, but enough for a verdict if half of the window allows it."""
    share = math.ceil(n_eligible * policy.gate_share)
    return max(share, min(policy.gate_min_loans, n_eligible // 2))


def months_before(moment: np.datetime64, months: int) -> np.datetime64:
    """As PostgreSQL subtracts months (UTC): the same day and time of the month, or its last day where it is shorter."""
    month, day = moment.astype("datetime64[M]"), moment.astype("datetime64[D]")
    first, next_first = ((month - np.timedelta64(months - n, "M")).astype("datetime64[D]") for n in (0, 1))
    last = next_first - np.timedelta64(1, "D")
    before: np.datetime64 = min(first + (day - month), last) + (moment - day)
    return before


def unlabelled_at_most(policy: Policy, config: ModelConfig) -> int:
    """Loans without a label; where nothing is pretrained, nothing sees them."""
    return policy.max_unlabelled if config.pretrain_epochs else 0


def shortage(n_rows: int, n_defaulted: int, *, n_young: int = 0, maturity_days: int = 0) -> str | None:
    """Why these loans are too few to learn from, as a sentence for the operator; None if they are enough.

    `n_young` labelled loans beside them are not `maturity_days` old yet.
    """
    n_repaid = n_rows - n_defaulted
    if min(n_defaulted, n_repaid) >= MIN_OF_EACH_CLASS:
        return None
    return (
        f"{n_rows:,} loans with {n_defaulted:,} defaulted and {n_repaid:,} repaid are left to learn from, without the "
        f"newest ones, which the gate needs; there must be {MIN_OF_EACH_CLASS} of each: send more outcomes, or loans "
        f"whose occurred_at differ.{_too_young(n_young, maturity_days) if n_young else ''}"
    )


def _too_young(n: int, maturity_days: int) -> str:
    return (
        f" {n:,} that are labelled do not count yet, for they are not {maturity_days:,} days old (maturity_days) by "
        "the newest outcomes: send those of older loans."
    )
