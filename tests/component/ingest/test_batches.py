"""The handler of ingest with its real reader and rules, on a store in memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from aiokafka import ConsumerRecord
from loanloop_common.dead_letters import Refusal
from loanloop_common.sampled_lines import FollowedLines
from loanloop_ingest.handlers import BatchHandler
from structlog.testing import capture_logs

from tests.support.arrivals import NOW, READER, FakeArrivalStore, make_record, place_of
from tests.support.loans import make_loan
from tests.support.outcomes import make_outcome


class Ingest:
    def __init__(self, *, refuses: frozenset[str] = frozenset()) -> None:
        self.store = FakeArrivalStore(refuses)
        self.dead_letters: list[Refusal] = []
        self.now = NOW
        self.broker_is_away = False
        self._handler = BatchHandler(
            reader=READER,
            store=self.store,
            publish_refusals=self._publish,
            clock=self._clock,
            followed=FollowedLines(per_s=3),
        )

    async def take(self, *records: ConsumerRecord) -> None:
        await (await self._handler.read_batch(records))()

    async def _publish(self, refusals: Sequence[Refusal]) -> None:
        if self.broker_is_away:
            raise OSError("the broker is away")
        self.dead_letters += refusals

    def _clock(self) -> datetime:
        return self.now


async def test_bad_message_disturbs_nothing_else_in_its_batch() -> None:
    ingest = Ingest()
    bad = make_record(b"not json", 1)
    await ingest.take(make_record(make_loan(1), 0), bad, make_record(make_outcome(1), 0), make_record(make_loan(2), 2))
    assert set(ingest.store.loans) == {"loan-1", "loan-2"}
    assert [(letter.record, letter.reason) for letter in ingest.dead_letters] == [(bad, "invalid_message")]


async def test_what_only_the_database_refuses_is_found_and_the_rest_stored() -> None:
    ingest = Ingest(refuses=frozenset({"loan-3"}))
    await ingest.take(*(make_record(make_loan(n), n) for n in range(8)))
    assert set(ingest.store.loans) == {f"loan-{n}" for n in range(8)} - {"loan-3"}
    (letter,) = ingest.dead_letters
    assert letter.reason == "refused_by_database"
    assert place_of(letter.record).offset == 3


async def test_good_batch_is_one_transaction() -> None:
    ingest = Ingest()
    await ingest.take(*(make_record(make_loan(n), n) for n in range(8)))
    assert ingest.store.n_batches == 1


async def test_dead_letter_that_was_not_published_is_published_on_redelivery() -> None:
    ingest = Ingest()
    records = [make_record(make_loan(1), 0), make_record(b"[]", 1), make_record(make_loan(1, loan_id="b"), 2)]
    ingest.broker_is_away = True
    with capture_logs() as lines:
        with pytest.raises(OSError, match="away"):
            await ingest.take(*records)
        ingest.broker_is_away = False
        await ingest.take(*records)
    assert sorted(line["offset"] for line in lines if line["event"] == "message_refused") == [1, 2]
    assert sorted(letter.reason for letter in ingest.dead_letters) == ["conflict", "invalid_message"]
    assert len(ingest.store.rejected) == 2
    assert not ingest.store.duplicates


async def test_message_refused_for_its_date_stays_refused_when_the_day_has_come() -> None:
    ingest = Ingest()
    tomorrow = make_record(make_loan(1, occurred_at="2026-01-02T00:00:00Z"), 0)
    await ingest.take(tomorrow)
    ingest.now = datetime.fromisoformat("2026-02-01T00:00:00Z")
    await ingest.take(tomorrow)
    assert not ingest.store.loans
    assert {letter.field for letter in ingest.dead_letters} == {"occurred_at"}


async def test_message_that_is_stored_stays_stored_though_it_would_be_refused_by_now() -> None:
    ingest = Ingest()
    records = [make_record(make_loan(1), 0), make_record(make_loan(1), 1)]
    await ingest.take(*records)
    ingest.now = datetime.fromisoformat("2001-01-01T00:00:00Z")
    await ingest.take(*records, make_record(make_loan(2), 2))
    assert [place_of(letter.record).offset for letter in ingest.dead_letters] == [2]
    assert len(ingest.store.keys) + len(ingest.store.duplicates) + len(ingest.store.rejected) == 3


@pytest.mark.parametrize("read_after", [timedelta(0), timedelta(days=400), timedelta(days=-1)])
async def test_a_date_is_judged_by_when_the_broker_took_the_message_however_late_it_is_read(
    read_after: timedelta,
) -> None:
    ingest = Ingest()
    ingest.now = NOW + read_after
    tomorrow, today = "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"
    await ingest.take(
        make_record(make_loan(1, occurred_at=tomorrow), 0, arrived_at=NOW),
        make_record(make_loan(2, occurred_at=today), 1, arrived_at=NOW),
        make_record(make_outcome(2, known_at=tomorrow), 0, arrived_at=NOW),
    )
    assert set(ingest.store.loans) == {"loan-2"}
    assert sorted(letter.field or "" for letter in ingest.dead_letters) == ["known_at", "occurred_at"]


def traced(number: int, *, flags: str = "01") -> list[tuple[str, bytes]]:
    return [("traceparent", f"00-{number:032x}-00000000000000aa-{flags}".encode())]


async def test_a_stored_event_has_a_line_where_its_sender_asked_for_one_and_a_refused_one_always() -> None:
    ingest = Ingest()
    asked, untraced, unsampled = make_loan(1), make_loan(2), make_loan(3)
    conflict, broken = make_loan(1, loan_id="b"), make_loan(4, loan_id="")
    with capture_logs() as lines:
        await ingest.take(
            make_record(asked, 0, headers=traced(1)),
            make_record(untraced, 1),
            make_record(unsampled, 2, headers=traced(3, flags="00")),
            make_record(conflict, 3, headers=traced(4)),
            make_record(broken, 4, headers=traced(5, flags="00")),
            make_record(b"not json", 5, headers=traced(6)),
        )
    stored = [line for line in lines if line["event"] == "event_stored"]
    refused = {line["offset"]: line for line in lines if line["event"] == "message_refused"}

    assert [(line["trace_id"], line["event_id"], line["offset"]) for line in stored] == [
        (f"{1:032x}", asked["event_id"], 0)
    ]
    assert {offset: (line["trace_id"], line.get("event_id")) for offset, line in refused.items()} == {
        3: (f"{4:032x}", asked["event_id"]),
        4: (f"{5:032x}", broken["event_id"]),
        5: (f"{6:032x}", None),
    }


async def test_whoever_asks_for_a_line_with_each_message_does_not_fill_the_log() -> None:
    ingest = Ingest()
    with capture_logs() as lines:
        await ingest.take(*(make_record(make_loan(n), n, headers=traced(n + 1)) for n in range(50)))
    assert 3 <= len(lines) <= 6  # three a second, and a second may end meanwhile
