"""Whatever the order, the batches and the repetitions in which events arrive, the tables are the same.

On the store in memory; tests/integration/ingest/test_interleavings.py asks the same of PostgreSQL.
"""

import asyncio
import json

from hypothesis import given

from tests.support.arrivals import FakeArrivalStore, arrive
from tests.support.deliveries import EVENTS, KEPT, Batches, Kept, deliveries


def store_after(batches: Batches) -> FakeArrivalStore:
    store, offset = FakeArrivalStore(), 0
    for batch in batches:
        asyncio.run(store.store(arrive(batch, first_offset=offset)))
        offset += len(batch)
    assert len(store.keys) + len(store.duplicates) + len(store.rejected) == offset
    return store


def kept_by(store: FakeArrivalStore) -> dict[str, Kept]:
    kept = {}
    for loan_id, change in store.loans.items():
        assert change.outcome
        assert change.outcome_event_id
        kept[loan_id] = Kept(
            event_id=change.loan_event_id,
            features=json.loads(change.loan.features) if change.loan else None,
            is_history=change.loan.is_history if change.loan else None,
            outcome_event_id=change.outcome_event_id,
            defaulted=change.outcome.defaulted,
        )
    return kept


ONCE_IN_ORDER = store_after([EVENTS])


@given(deliveries())
def test_any_interleaving_with_duplicates_leaves_the_same_tables(batches: Batches) -> None:
    store = store_after(batches)

    assert kept_by(store) == KEPT
    assert (store.loans, store.n_missing) == (ONCE_IN_ORDER.loans, ONCE_IN_ORDER.n_missing)
    assert set(store.keys) == set(ONCE_IN_ORDER.keys)
