"""Each bad message ends in the dead letters with its reason, and disturbs nothing else in its batch."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from loanloop_common.errors import MessageTooLarge
from loanloop_common.events import Topic

from tests.integration.ingest.world import World, headers_of
from tests.support.loans import as_bytes, make_features, make_loan
from tests.support.outcomes import make_outcome

pytestmark = pytest.mark.timeout(600)

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def loan_with(**features: Any) -> bytes:
    return as_bytes(make_loan(500, features=make_features(500) | features))


def loan_without(name: str) -> bytes:
    features = make_features(501)
    del features[name]
    return as_bytes(make_loan(501, features=features))


BAD_LOANS: list[tuple[bytes, str, str | None]] = [
    (b"not json", "invalid_message", None),
    (b"", "invalid_message", None),
    (b'"text"', "invalid_message", None),
    (as_bytes(make_loan(502))[:-40], "invalid_message", None),
    (b"\xff\xfe\x00", "invalid_message", None),
    (loan_with(employees="many"), "invalid_field", "features.employees"),
    (loan_with(business_age="ancient"), "invalid_field", "features.business_age"),
    (loan_without("bank"), "invalid_field", "features.bank"),
    (loan_with(employees=-1), "invalid_field", "features.employees"),
    (loan_with(approved_amount=1e300), "invalid_field", "features.approved_amount"),
    (loan_with(bank="A\0B"), "invalid_field", "features.bank"),
    (loan_with(bank="x" * 900_000), "invalid_field", "features.bank"),
    (as_bytes(make_loan(503, occurred_at=TOMORROW)), "invalid_field", "occurred_at"),
    (as_bytes(make_loan(504, occurred_at="10000-01-01T00:00:00Z")), "invalid_field", "occurred_at"),
    (as_bytes(make_loan(505, event_id="505")), "invalid_field", "event_id"),
    (as_bytes(make_loan(506, outcome={"defaulted": True})), "invalid_field", "outcome.known_at"),
    # Of the same loan, so in the same partition: which of the two comes first is certain.
    (as_bytes(make_loan(1, features=make_features(2))), "conflict", "event_id"),
]


async def test_each_bad_loan_is_a_dead_letter_and_its_neighbours_are_stored(world: World) -> None:
    goods = [make_loan(n) for n in range(len(BAD_LOANS) + 1)]
    mixed = [event for good, (bad, _, _) in zip(goods[1:], BAD_LOANS, strict=True) for event in (good, bad)]
    n = await world.produce([goods[0], *mixed, goods[3]])

    await world.start_ingest()
    totals = await world.consumed(n)

    assert (totals.stored, totals.rejected, totals.duplicates) == (len(goods), len(BAD_LOANS), 1)
    assert await world.stored_loans() == {loan["loan_id"] for loan in goods}
    letters = {record.value: headers_of(record) for record in await world.dead_letters()}
    assert len(letters) == len(BAD_LOANS)
    for payload, reason, field in BAD_LOANS:
        headers = letters[payload]
        assert (headers["reason"], headers.get("field")) == (reason, field), headers["message"]
        assert headers["topic"] == "loan.received"
        assert {"partition", "offset", "sha256"} <= headers.keys()


async def test_bad_outcomes_are_dead_letters_and_their_neighbours_are_stored(world: World) -> None:
    bad = [
        b"not json",
        as_bytes(make_outcome(2, defaulted="yes")),
        as_bytes(make_outcome(3, known_at=TOMORROW)),
        as_bytes(make_outcome(4, loan_id="")),
        as_bytes(make_outcome(1) | {"defaulted": not make_outcome(1)["defaulted"]}),
    ]
    n = await world.produce([make_outcome(1), *bad, make_outcome(6)], Topic.LOAN_OUTCOME)

    await world.start_ingest()
    totals = await world.consumed(n, Topic.LOAN_OUTCOME)

    assert (totals.stored, totals.rejected) == (2, 5)
    letters = await world.dead_letters(Topic.LOAN_OUTCOME)
    assert {record.value for record in letters} == set(bad)


async def test_outcome_of_an_unknown_loan_waits_for_it_and_is_counted(world: World) -> None:
    await world.start_ingest()
    await world.produce([make_outcome(1), make_outcome(2)], Topic.LOAN_OUTCOME)
    await world.consumed(2, Topic.LOAN_OUTCOME)
    assert await n_waiting(world) == 2

    await world.produce([make_loan(1)])
    await world.consumed(1)

    assert await n_waiting(world) == 1
    row = await world.pool.fetchrow("SELECT * FROM loan_data.processed_data WHERE loan_id = 'loan-1'")
    assert row is not None
    assert row["defaulted"] is True
    assert row["counts_at"] == row["known_at"]


async def test_large_valid_loan_is_stored_whole(world: World) -> None:
    large = as_bytes(make_loan(1) | {"note": "x" * 900_000})
    await world.produce([large])
    await world.start_ingest()
    assert (await world.consumed(1)).stored == 1
    assert await world.pool.fetchval("SELECT payload FROM loan_data.raw_data") == large


async def test_producer_is_told_of_a_message_over_the_limit_and_nothing_is_sent(world: World) -> None:
    with pytest.raises(MessageTooLarge):
        await world.produce([make_loan(1), b"x" * 1_100_000])
    await world.produce([make_loan(2)])
    await world.start_ingest()
    await world.consumed(1)
    assert await world.stored_loans() == {"loan-2"}


async def test_what_only_the_database_refuses_is_found_among_a_thousand(world: World) -> None:
    await world.pool.execute("ALTER TABLE loan_data.processed_data ADD CHECK (loan_id <> 'loan-617')")
    n = await world.produce(make_loan(number) for number in range(1000))
    await world.start_ingest()
    totals = await world.consumed(n)
    assert (totals.stored, totals.rejected) == (999, 1)
    (letter,) = await world.dead_letters()
    assert headers_of(letter)["reason"] == "refused_by_database"
    assert letter.key == b"loan-617"


async def n_waiting(world: World) -> int:
    n: int = await world.pool.fetchval("SELECT count(*) FROM loan_data.processed_data WHERE features IS NULL")
    return n
