"""What the log says of a decision on a loan whose trace somebody wants to see. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from loanloop_common.trace_context import is_sampled, trace_of

from loanloop_predictor.domain.decisions import Decision, StoredDecision

Followed = tuple[Decision, str]


def followed(stored: Iterable[StoredDecision], traceparents: Mapping[UUID, str]) -> Iterator[Followed]:
    """Each with its trace; `traceparents` by event_id."""
    for one in stored:
        traceparent = traceparents.get(one.decision.event_id)
        if traceparent is not None and is_sampled(traceparent):
            yield one.decision, traceparent


def facts_of(one: Followed) -> dict[str, object]:
    """Nothing of the loan itself, nor what was decided."""
    made, traceparent = one
    return {
        "event_id": str(made.event_id),
        **trace_of(traceparent),
        "decision_id": str(made.decision_id),
        "version": made.version,
        "channel": made.channel,
    }
