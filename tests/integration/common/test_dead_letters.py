"""Dead letters on a real broker and database."""

import hashlib
import os
from collections.abc import AsyncIterator

import pytest
from loanloop_common.dead_letters import Refusal, publish_refusals, record_refusals, refusal_of
from loanloop_common.errors import EventConflict, InvalidField, InvalidMessage
from loanloop_common.events import Topic
from loanloop_common.kafka import Broker
from loanloop_common.postgres import Pool, create_pool

from tests.support.records import make_record
from tests.support.topics import read_all


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test")
    yield pool
    await pool.close()


async def test_redelivered_refusal_is_recorded_once(pool: Pool) -> None:
    refusals = [
        refusal_of(make_record(b"{", offset=7), InvalidMessage("not JSON")),
        refusal_of(make_record(b"{}", offset=8), InvalidField("loan_id", None, "is missing")),
        refusal_of(make_record(b"{}", offset=9), EventConflict("5f0c")),
    ]

    for _ in range(3):
        async with pool.acquire() as connection, connection.transaction():
            await record_refusals(connection, service="ingest", refusals=refusals)

    rows = await pool.fetch("SELECT kafka_offset, reason, field, rule FROM loan_data.rejected ORDER BY kafka_offset")
    assert [tuple(row) for row in rows] == [
        (7, "invalid_message", None, None),
        (8, "invalid_field", "loan_id", "is missing"),
        (9, "conflict", "event_id", None),
    ]


async def test_another_refusal_at_an_old_place_is_recorded_beside_the_first(pool: Pool) -> None:
    """A topic made anew counts its offsets from 0 again."""
    for value in (b"{", b"[", b"{"):
        async with pool.acquire() as connection, connection.transaction():
            refusal = refusal_of(make_record(value, offset=7), InvalidMessage("not JSON"))
            await record_refusals(connection, service="ingest", refusals=[refusal])

    rows = await pool.fetch("SELECT kafka_offset, payload FROM loan_data.rejected ORDER BY rejected_at")
    assert [tuple(row) for row in rows] == [(7, b"{"), (7, b"[")]


async def test_what_no_text_column_takes_is_recorded_all_the_same(pool: Pool) -> None:
    bad = Refusal(make_record(b"\0\xff", key=None), "invalid_field", "a\0b \ud800", field="x\0y", rule="r" * 5000)

    async with pool.acquire() as connection:
        await record_refusals(connection, service="ingest", refusals=[bad])

    row = await pool.fetchrow("SELECT message, field, rule, payload, message_key FROM loan_data.rejected")
    assert row is not None
    assert (row["message"], row["field"]) == ("a\\x00b \\ud800", "x\\x00y")
    assert len(row["rule"]) == 1000
    assert (row["payload"], row["message_key"]) == (b"\0\xff", None)


async def test_dead_letter_carries_the_original_bytes_and_where_they_came_from(topics: str, broker: Broker) -> None:
    value = b'{"loan_id": "\xff"}'
    traced = [("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("tenant", b"\xff")]
    record = make_record(value, topic=Topic.LOAN_RECEIVED, partition=3, offset=41, key=b"L1", headers=traced)

    await publish_refusals(broker, [refusal_of(record, InvalidField("loan_id", "?", "must be text"))])

    (letter,) = await read_all(topics, Topic.LOAN_RECEIVED.dead_letters)
    headers = {name: text.decode() for name, text in letter.headers}
    assert (letter.key, letter.value) == (b"L1", value)
    assert (headers["topic"], headers["partition"], headers["offset"]) == ("loan.received", "3", "41")
    assert (headers["reason"], headers["field"], headers["rule"]) == ("invalid_field", "loan_id", "must be text")
    assert headers["sha256"] == hashlib.sha256(value).hexdigest()
    assert headers["traceparent"] == traced[0][1].decode()
    assert not {"truncated", "tenant"} & headers.keys()


async def test_dead_letter_too_large_keeps_a_prefix_and_the_originals_hash(
    topics: str, broker: Broker, pool: Pool
) -> None:
    value = os.urandom(broker.settings.max_message_bytes - 200)
    refusal = refusal_of(make_record(value, key=os.urandom(100)), InvalidMessage("not JSON"))

    await publish_refusals(broker, [refusal])
    async with pool.acquire() as connection:
        await record_refusals(connection, service="ingest", refusals=[refusal])

    (letter,) = await read_all(topics, Topic.LOAN_RECEIVED.dead_letters)
    headers = {name: text.decode() for name, text in letter.headers}
    assert value.startswith(letter.value)
    assert len(letter.value) > 1_000_000
    assert (headers["truncated"], headers["bytes"]) == ("true", str(len(value)))
    assert headers["sha256"] == hashlib.sha256(value).hexdigest()
    row = await pool.fetchrow("SELECT payload_bytes, length(payload) AS kept, payload_sha256 FROM loan_data.rejected")
    assert row is not None
    assert (row["payload_bytes"], row["kept"]) == (len(value), 1_000_000)
    assert row["payload_sha256"] == hashlib.sha256(value).digest()
