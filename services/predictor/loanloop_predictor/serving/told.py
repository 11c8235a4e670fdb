"""The lines of decisions that REST gave on loans whose traces somebody wants to see."""

from collections.abc import Sequence

from loanloop_common.sampled_lines import FollowedLines

from loanloop_predictor.domain.decisions import StoredDecision
from loanloop_predictor.domain.following import facts_of, followed
from loanloop_predictor.domain.incoming import IncomingLoan
from loanloop_predictor.serving.decider import Answer


def tell_decided(lines: FollowedLines, incoming: Sequence[IncomingLoan], answers: Sequence[Answer]) -> None:
    traceparents = {one.loan.event_id: one.traceparent for one in incoming if one.traceparent is not None}
    if traceparents:
        decided = [answer for answer in answers if isinstance(answer, StoredDecision)]
        lines.tell("loan_decided", followed(decided, traceparents), facts_of)
