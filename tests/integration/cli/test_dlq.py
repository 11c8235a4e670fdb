"""`loanloop dlq` as its users meet it: what a real ingest has refused is listed, shown, and sent again."""

import asyncio
import hashlib
import json
import os
import pty
from pathlib import Path
from typing import Any

from loanloop_common.dead_letters import record_refusals, refusal_of
from loanloop_common.errors import InvalidMessage
from loanloop_common.events import Topic
from loanloop_common.resources import resource_folder

from tests.integration.cli.bad_events import (
    ANCIENT,
    BAD_OUTCOME,
    CROWDED,
    FILE_ROW,
    FOR_THE_TERMINAL,
    HUGE,
    LONE_SURROGATE,
    NEGATIVE,
    NESTED,
    NO_ID,
    NOT_JSON,
    NOT_UTF8,
    OVER_WHAT_IS_KEPT,
    REFUSED,
    TAKEN,
    UNSTORABLE,
    Bad,
    loan_with,
)
from tests.integration.cli.world import LOANLOOP, NO_ENVIRONMENT, Operated, loanloop, says_in_one_sentence
from tests.support.records import make_record
from tests.support.topics import read_all

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
NOBODY_LISTENS = "127.0.0.1:1"


async def listed(world: Operated, *options: str) -> list[dict[str, Any]]:
    answer = await world.dlq("list", "--json", *options)
    assert answer.code == 0, answer.err
    letters: list[dict[str, Any]] = json.loads(answer.out)
    return letters


async def first_id(world: Operated, bad: Bad) -> str:
    return (await world.refused_as(bad.payload))[0]


async def test_list_says_of_each_where_it_lay_and_which_field_with_which_value_broke_which_rule(
    world: Operated,
) -> None:
    letters = {letter["id"]: letter for letter in await listed(world, "--replayed", "--limit", "500")}

    for bad in REFUSED:
        letter_id = await first_id(world, bad)
        letter = letters[letter_id]
        assert (letter["reason"], letter["field"]) == (bad.reason, bad.field)
        assert bad.said in letter["message"]
        assert letter["rule"] is None or letter["rule"] in letter["message"]
        assert letter_id == f"{letter['topic']}:{letter['partition']}:{letter['offset']}"
        assert letter["payload_bytes"] == len(bad.payload)
    assert letters[FILE_ROW]["service"] == "collector"


async def test_list_keeps_to_the_reason_the_topic_and_the_number_asked_for(world: Operated) -> None:
    conflicts, outcomes, one, none = await asyncio.gather(
        listed(world, "--reason", "conflict", "--replayed"),
        listed(world, "--topic", "loan.outcome", "--replayed"),
        listed(world, "--limit", "1"),
        world.dlq("list", "--reason", "no_such_reason"),
    )

    assert [letter["id"] for letter in conflicts] == await world.refused_as(TAKEN.payload)
    assert [letter["id"] for letter in outcomes] == await world.refused_as(BAD_OUTCOME.payload)
    assert len(one) == 1
    assert (none.code, none.out) == (0, b"There is no dead letter of that kind that has not been sent again.\n")


async def test_list_for_people_shows_every_id_as_it_is_and_says_when_there_is_more(world: Operated) -> None:
    whole, cut = await asyncio.gather(
        world.dlq("list", "--replayed", "--limit", "500"), world.dlq("list", "--limit", "3")
    )

    shown = whole.out.decode()
    for letter_id in [FILE_ROW, await first_id(world, NEGATIVE), await first_id(world, FOR_THE_TERMINAL)]:
        assert letter_id in shown
    assert NEGATIVE.said in shown
    assert (whole.code, whole.err) == (0, "")
    assert "the newest 3" in cut.err


async def test_show_gives_back_the_very_bytes_and_says_why_they_were_refused(world: Operated) -> None:
    shown = [ANCIENT, HUGE, NOT_UTF8, BAD_OUTCOME]

    answers = await asyncio.gather(*[world.dlq("show", await first_id(world, bad)) for bad in shown])

    for bad, answer in zip(shown, answers, strict=True):
        assert (answer.code, answer.out) == (0, bad.payload)
        assert all(part in answer.err for part in (bad.reason, bad.said, hashlib.sha256(bad.payload).hexdigest()))


async def test_a_terminal_gets_no_control_characters_that_a_sender_has_chosen(world: Operated) -> None:
    arguments = ("dlq", "show", await first_id(world, FOR_THE_TERMINAL), "--data-dir", str(world.data_dir))
    ours, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(LOANLOOP, *arguments, env=NO_ENVIRONMENT, stdout=its, stderr=its)
    assert await process.wait() == 0
    os.close(its)

    shown = os.read(ours, 1 << 16)
    os.close(ours)

    assert b"\\x1b]0;owned\\x07 \\xff" in shown
    assert not {b"\x1b", b"\x07"} & {shown[i : i + 1] for i in range(len(shown))}


async def test_what_is_still_bad_is_sent_unchanged_and_refused_once_more_and_only_once(world: Operated) -> None:
    keys = {ANCIENT: b"loan-1", HUGE: b"loan-5", NOT_UTF8: None, NESTED: None, LONE_SURROGATE: None}
    before = {bad: await first_id(world, bad) for bad in keys}

    answers = await asyncio.gather(*[world.dlq("replay", letter_id) for letter_id in before.values()])
    await world.settled()

    assert [answer.code for answer in answers] == [0] * len(keys), answers
    still_listed = {letter["id"] for letter in await listed(world)}
    for bad, key in keys.items():
        assert await world.keys_of(bad.payload) == [key, key]
        first, again = await world.refused_as(bad.payload)
        assert (first in still_listed, again in still_listed) == (False, True)


async def test_mended_loan_is_stored_once_under_the_same_key_however_often_it_is_sent(
    world: Operated, tmp_path: Path
) -> None:
    letter_id, mended = await first_id(world, NEGATIVE), loan_with(2, employees=1)
    (tmp_path / "mended.json").write_bytes(mended + b"\n")

    for _ in range(2):
        answer = await world.dlq("replay", letter_id, "--with", str(tmp_path / "mended.json"), "--as", "desk")
        assert (answer.code, answer.err) == (0, "")
    await world.settled()

    login = await world.pool.fetchval("SELECT session_user")
    (letter,) = [one for one in await listed(world, "--replayed", "--limit", "500") if one["id"] == letter_id]
    assert (letter["replayed_by"], letter["replayed_login"]) == ("desk", login)

    assert await world.keys_of(mended) == [b"loan-2"] * 2
    assert await world.n_stored("loan-2") == (1, 1)
    assert await world.pool.fetchval("SELECT payload FROM loan_data.raw_data WHERE loan_id = 'loan-2'") == mended
    assert letter_id not in {letter["id"] for letter in await listed(world)}


async def test_message_without_a_key_is_mended_under_its_loans_id_and_may_come_through_a_pipe(world: Operated) -> None:
    letter_id, mended = await first_id(world, NO_ID), loan_with(7)

    says_in_one_sentence(
        await world.dlq("replay", letter_id, "--with", "-", given=b"{"), "<stdin> holds no JSON object"
    )
    answer = await world.dlq("replay", letter_id, "--with", "-", given=mended + b"\n")
    await world.settled()

    assert (answer.code, answer.err) == (0, "")
    assert await world.keys_of(mended) == [b"loan-7"]
    assert await world.n_stored("loan-7") == (1, 1)


async def test_loan_is_stored_once_after_the_portfolio_allows_it_and_the_database_takes_it(
    world: Operated, tmp_path: Path
) -> None:
    preset = resource_folder("portfolios") / "sba" / "sba.toml"
    wider = tmp_path / "wider.toml"
    wider.write_text(f'extends = "{preset}"\n[features.employees]\nmaximum = 1000000\n')
    await world.pool.execute("ALTER TABLE loan_data.processed_data DROP CONSTRAINT no_4")
    await world.infrastructure.stop_services()
    settings = {"LOANLOOP_POSTGRES__DSN": world.dsn, "LOANLOOP_PORTFOLIO": str(wider)}
    await world.infrastructure.start_service("ingest", **settings)

    answers = [await world.dlq("replay", await first_id(world, bad)) for bad in (CROWDED, CROWDED, UNSTORABLE)]
    await world.settled()

    assert [answer.code for answer in answers] == [0, 0, 0], answers
    assert [await world.n_stored(loan_id) for loan_id in ("loan-3", "loan-4")] == [(1, 1), (1, 1)]
    assert len(await world.refused_as(CROWDED.payload)) == 1


async def test_what_is_not_kept_whole_is_sent_only_with_a_whole_event(world: Operated, tmp_path: Path) -> None:
    letter_id, mended = await first_id(world, OVER_WHAT_IS_KEPT), loan_with(6)
    (tmp_path / "mended.json").write_bytes(mended)

    shown = await world.dlq("show", letter_id)
    says_in_one_sentence(await world.dlq("replay", letter_id), letter_id, "only its beginning is kept", "--with FILE")
    says_in_one_sentence(await world.dlq("replay", FILE_ROW), FILE_ROW, "is a row of a file", "--with FILE")
    answer = await world.dlq("replay", letter_id, "--with", str(tmp_path / "mended.json"))
    await world.settled()

    assert shown.out == OVER_WHAT_IS_KEPT.payload[:1_000_000]
    assert "of which 1,000,000 are kept" in shown.err
    assert answer.code == 0
    assert await world.n_stored("loan-6") == (1, 1)


async def test_of_two_at_one_place_the_newer_comes_first_and_the_older_after_it(world: Operated) -> None:
    """A topic made anew counts its offsets from 0 again."""
    letter_id, older, newer = "outbox:loan.scored:0:7", b'{"loan_id": "older"}', b'{"loan_id": "newer"}'
    for payload in (older, newer):
        headers = [("traceparent", TRACEPARENT.encode())] if payload is newer else []
        record = make_record(payload, topic="outbox:loan.scored", offset=7, headers=headers)
        refusal = refusal_of(record, InvalidMessage("too large"))
        async with world.pool.acquire() as connection:
            await record_refusals(connection, service="predictor", refusals=[refusal])

    for n_listed, payload in ((2, newer), (1, older), (0, newer)):
        assert [letter["id"] for letter in await listed(world)].count(letter_id) == n_listed
        assert (await world.dlq("show", letter_id)).out == payload
        assert (await world.dlq("replay", letter_id)).code == 0
    sent = await read_all(world.infrastructure.kafka_bootstrap, Topic.LOAN_SCORED)
    traces = {(record.value, dict(record.headers).get("traceparent")) for record in sent}
    assert traces == {(older, None), (newer, TRACEPARENT.encode())}


async def test_an_id_of_nothing_is_said_so(world: Operated) -> None:
    ids = ["loan.received:0:999999", "loan.received:9999999999:0", "loan.received:0:-1", "nonsense"]

    shown = await asyncio.gather(*[world.dlq("show", letter_id) for letter_id in ids])
    replayed = await world.dlq("replay", ids[0])

    for letter_id, answer in zip([*ids, ids[0]], [*shown, replayed], strict=True):
        says_in_one_sentence(answer, letter_id, "`loanloop dlq list` shows")


async def test_a_file_that_is_no_event_is_not_sent(world: Operated, tmp_path: Path) -> None:
    letter_id, empty = await first_id(world, NOT_JSON), tmp_path / "empty.json"
    empty.write_bytes(b"\n")

    without = await world.dlq("replay", letter_id, "--with", str(tmp_path / "absent.json"))
    says_in_one_sentence(await world.dlq("replay", letter_id, "--with", str(empty)), str(empty), "holds no JSON object")

    assert without.code == 2
    assert "absent.json" in without.err
    assert "Traceback" not in without.err
    assert letter_id in {letter["id"] for letter in await listed(world)}


async def test_servers_out_of_reach_are_named_and_the_dead_letter_stays(world: Operated, tmp_path: Path) -> None:
    letter_id = await first_id(world, NOT_JSON)
    no_kafka = {"LOANLOOP_POSTGRES__DSN": world.dsn, "LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": NOBODY_LISTENS}
    no_postgres = {"LOANLOOP_POSTGRES__DSN": f"postgresql://loanloop@{NOBODY_LISTENS}/loanloop"}

    kafka, postgres, neither = await asyncio.gather(
        loanloop("dlq", "replay", letter_id, data_dir=tmp_path, **no_kafka),
        loanloop("dlq", "list", data_dir=tmp_path, **no_postgres),
        loanloop("dlq", "show", letter_id, data_dir=tmp_path),
    )

    says_in_one_sentence(kafka, f"Kafka at {NOBODY_LISTENS} does not answer")
    says_in_one_sentence(postgres, "PostgreSQL", "127.0.0.1", "Connect call failed")
    says_in_one_sentence(neither, f"nothing runs on {tmp_path}", "--data-dir")
    assert letter_id in {letter["id"] for letter in await listed(world)}
