"""Whatever the order, the batches and the repetitions in which events arrive, the tables are the same."""

import asyncio
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.arrivals import FakeArrivalStore, arrive
from tests.support.loans import make_loan
from tests.support.outcomes import make_outcome

HISTORY = {"defaulted": True, "known_at": "2007-09-01T00:00:00Z"}
EVENTS = [
    make_loan(1),
    make_loan(2, outcome=HISTORY),
    make_outcome(1),
    make_outcome(1, correction=1),
    make_outcome(1, correction=2, occurred_at="2008-01-02T00:00:00Z"),
    make_outcome(2),
    make_outcome(3),
]


def tables_after(batches: list[list[dict[str, Any]]]) -> tuple[Any, ...]:
    store, offset = FakeArrivalStore(), 0
    for batch in batches:
        asyncio.run(store.store(arrive(batch, first_offset=offset)))
        offset += len(batch)
    assert len(store.keys) + len(store.duplicates) + len(store.rejected) == offset
    return set(store.keys), store.loans, store.n_missing


ONCE_IN_ORDER = tables_after([EVENTS])


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    repeated = draw(st.lists(st.sampled_from(EVENTS), max_size=8))
    order = draw(st.permutations(EVENTS + repeated))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=4)) | {0, len(order)})
    return [order[a:b] for a, b in pairwise(cuts)]


@given(deliveries())
def test_any_interleaving_with_duplicates_leaves_the_same_tables(batches: list[list[dict[str, Any]]]) -> None:
    assert tables_after(batches) == ONCE_IN_ORDER
