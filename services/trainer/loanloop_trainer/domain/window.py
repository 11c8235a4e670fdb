"""Which part of the window stays unseen by the trainer, for the evaluator's gate."""

import math

from loanloop_common.portfolio import Policy


def gate_size(n_eligible: int, policy: Policy) -> int:
    """The newest loans to leave out: the policy's share, but enough for a verdict if half of the window allows it."""
    share = math.ceil(n_eligible * policy.gate_share)
    return max(share, min(policy.gate_min_loans, n_eligible // 2))
