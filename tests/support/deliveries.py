"""Events of a few loans in any order, cut into any batches, some more than once; and what must have become of them."""

from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from tests.support.loans import make_loan
from tests.support.outcomes import make_outcome

Batches = list[list[dict[str, Any]]]

_HISTORY = make_loan(2, outcome={"defaulted": True, "known_at": "2007-09-01T00:00:00Z"})
_CORRECTION = make_outcome(1, correction=1)
_KNOWN_LATER = make_outcome(
    1, correction=2, event_id=str(UUID(int=1)), occurred_at=_CORRECTION["occurred_at"], known_at="2007-12-21T00:00:00Z"
)
_OF_ONE_MOMENT = [make_outcome(3), make_outcome(3, correction=1, occurred_at=make_outcome(3)["occurred_at"])]
EVENTS = [
    make_loan(1),
    _HISTORY,
    make_outcome(1),
    _CORRECTION,
    _KNOWN_LATER,
    make_outcome(2),
    *_OF_ONE_MOMENT,
]


class Kept(NamedTuple):
    """Which events a loan's row holds, and what they say."""

    event_id: UUID | None
    features: dict[str, Any] | None
    is_history: bool | None
    outcome_event_id: UUID
    defaulted: bool


def _kept(loan: dict[str, Any] | None, outcome: dict[str, Any]) -> Kept:
    return Kept(
        event_id=UUID(loan["event_id"]) if loan else None,
        features=loan["features"] if loan else None,
        is_history="outcome" in loan if loan else None,
        outcome_event_id=UUID(outcome["event_id"]),
        defaulted=outcome["defaulted"],
    )


# Of corrections of one moment the one known later holds, then the higher id; loan 3 never comes.
KEPT = {
    "loan-1": _kept(make_loan(1), _KNOWN_LATER),
    "loan-2": _kept(_HISTORY, make_outcome(2)),
    "loan-3": _kept(None, max(_OF_ONE_MOMENT, key=lambda event: UUID(event["event_id"]))),
}


@st.composite
def deliveries(draw: st.DrawFn) -> Batches:
    repeated = draw(st.lists(st.sampled_from(EVENTS), max_size=8))
    order = draw(st.permutations(EVENTS + repeated))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=4)) | {0, len(order)})
    return [order[a:b] for a, b in pairwise(cuts)]
