"""`loanloop dlq` as its users meet it: what a real ingest has refused is listed, shown, and sent again."""

import asyncio
import hashlib
import json
import os
import pty
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from loanloop_common.events import Topic
from loanloop_common.resources import resource_folder
from loanloop_ingest.store.collected_files import CollectedFileStore, RefusedFileRow

from tests.integration.cli.world import LOANLOOP, NO_ENVIRONMENT, Answer, Operated, loanloop
from tests.support.loans import as_bytes, make_features, make_loan
from tests.support.outcomes import make_outcome

NOBODY_LISTENS = "127.0.0.1:1"
FILE_ROW = "file:[red]loans.csv@0123456789ab:0:17"


class Bad(NamedTuple):
    payload: bytes
    reason: str
    field: str | None
    said: str


def loan_with(number: int, **features: Any) -> bytes:
    return as_bytes(make_loan(number, features=make_features(number) | features))


ANCIENT = Bad(
    loan_with(1, business_age="ancient"),
    "invalid_field",
    "features.business_age",
    "features.business_age = 'ancient': must be one of existing, new, or null",
)
NEGATIVE = Bad(loan_with(2, employees=-1), "invalid_field", "features.employees", "features.employees = -1: must be")
CROWDED = Bad(loan_with(3, employees=250_000), "invalid_field", "features.employees", "features.employees = 250000")
UNSTORABLE = Bad(loan_with(4), "refused_by_database", None, "violates check constraint")
TAKEN = Bad(
    as_bytes(make_loan(10, features=make_features(11))),
    "conflict",
    "event_id",
    f"event_id {make_loan(10)['event_id']} is already taken",
)
HUGE = Bad(loan_with(5, bank="x" * 900_000), "invalid_field", "features.bank", "features.bank = 'xxx")
OVER_WHAT_IS_KEPT = Bad(loan_with(6, bank="y" * 1_010_000), "invalid_field", "features.bank", "features.bank = 'yyy")
NO_ID = Bad(
    as_bytes({name: value for name, value in make_loan(7).items() if name != "loan_id"}),
    "invalid_field",
    "loan_id",
    "loan_id = None: is missing",
)
KEYED = [ANCIENT, NEGATIVE, CROWDED, UNSTORABLE, TAKEN, HUGE, OVER_WHAT_IS_KEPT]

NOT_JSON = Bad(b"not json", "invalid_message", None, "the message is not JSON")
NOT_UTF8 = Bad(b"\xff\xfe\x00\x80", "invalid_message", None, "the message is not JSON")
NESTED = Bad(b'{"loan_id":' * 10_000, "invalid_message", None, "nested too deeply")
LONE_SURROGATE = Bad(b'{"loan_id": "\\ud800"}', "invalid_message", None, "the message is not JSON")
FOR_THE_TERMINAL = Bad(b"\x1b]0;owned\x07 \xff", "invalid_message", None, "the message is not JSON")
UNKEYED = [NO_ID, NOT_JSON, NOT_UTF8, NESTED, LONE_SURROGATE, FOR_THE_TERMINAL]

BAD_OUTCOME = Bad(
    as_bytes(make_outcome(1, defaulted="perhaps")), "invalid_field", "defaulted", "defaulted = 'perhaps': must be"
)
REFUSED = [*KEYED, *UNKEYED, BAD_OUTCOME]


@pytest.fixture(scope="module", autouse=True)
async def world(operated: Operated) -> Operated:
    """All of the above are refused, and one row of a file."""
    await operated.pool.execute("ALTER TABLE loan_data.processed_data ADD CONSTRAINT no_4 CHECK (loan_id <> 'loan-4')")
    await operated.produce([make_loan(10), *(bad.payload for bad in KEYED)])
    await operated.produce([bad.payload for bad in UNKEYED], keyed=False)
    await operated.produce([BAD_OUTCOME.payload], Topic.LOAN_OUTCOME)
    await operated.start_ingest()
    files = CollectedFileStore(operated.pool)
    await files.claim(b"\x01", "loans.csv", 17)
    row = RefusedFileRow("file:[red]loans.csv@0123456789ab", 17, "term_months", "must be a number", "row 17", b"{}")
    await files.advance(b"\x01", 17, 0, [row])
    await operated.consumed(1, Topic.LOAN_OUTCOME)
    await operated.settled()
    return operated


async def listed(world: Operated, *options: str) -> list[dict[str, Any]]:
    answer = await world.dlq("list", "--json", *options)
    assert answer.code == 0, answer.err
    letters: list[dict[str, Any]] = json.loads(answer.out)
    return letters


async def first_id(world: Operated, bad: Bad) -> str:
    return (await world.refused_as(bad.payload))[0]


def says_in_one_sentence(answer: Answer, *parts: str) -> None:
    assert (answer.code, answer.out) == (1, b"")
    assert answer.err.startswith("Error: "), answer.err
    assert answer.err.count("\n") == 1, answer.err
    assert all(part in answer.err for part in parts), answer.err


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
        answer = await world.dlq("replay", letter_id, "--with", str(tmp_path / "mended.json"))
        assert (answer.code, answer.err) == (0, "")
    await world.settled()

    assert await world.keys_of(mended) == [b"loan-2"] * 2
    assert await world.n_stored("loan-2") == (1, 1)
    assert await world.pool.fetchval("SELECT payload FROM loan_data.raw_data WHERE loan_id = 'loan-2'") == mended
    assert letter_id not in {letter["id"] for letter in await listed(world)}


async def test_message_without_a_key_is_mended_under_its_loans_id(world: Operated, tmp_path: Path) -> None:
    mended = loan_with(7)
    (tmp_path / "mended.json").write_bytes(mended)

    answer = await world.dlq("replay", await first_id(world, NO_ID), "--with", str(tmp_path / "mended.json"))
    await world.settled()

    assert answer.code == 0
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
