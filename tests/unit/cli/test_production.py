import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from loanloop.produce.bookmark import bookmark_in
from loanloop.produce.refusals import Refusals
from loanloop.produce.running import validate_file
from loanloop.produce.selection import Outcomes, Selection
from loanloop.produce.sender import Acknowledged, Sender
from loanloop.produce.sequence import EventSequence
from loanloop_common.errors import LoanloopError
from loanloop_common.events import Topic
from loanloop_common.portfolio_file import load_portfolio
from loanloop_ingest.domain.file_events import FileEvent, RefusedRow, RowReader
from loanloop_ingest.loan_files import open_loan_file
from rich.console import Console

from tests.support.loans import make_features

NOW = datetime(2010, 1, 1, tzinfo=UTC)
READER = RowReader(load_portfolio("sba"))
DAYS = ["2005-01-01", "2005-01-20", "2005-03-01", "2005-03-02"]


@pytest.fixture
def sequence(tmp_path: Path) -> Callable[..., EventSequence]:
    rows = [
        {"loan_id": str(n), "approved_at": day, "defaulted": n % 2} | make_features(n) for n, day in enumerate(DAYS)
    ]
    rows[3]["employees"] = -1
    lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
    path = tmp_path / "loans.csv"
    path.write_text("\n".join([",".join(rows[0]), *lines]))

    def make(refused: list[RefusedRow] | None = None, **options: Any) -> EventSequence:
        kept = [] if refused is None else refused
        return EventSequence(open_loan_file(path), READER, Selection(now=NOW, **options), kept.append)

    return make


def told(events: Sequence[FileEvent]) -> list[str]:
    """Loans as L0, outcomes as o0."""
    return [("L" if event.topic is Topic.LOAN_RECEIVED else "o") + event.key.decode() for event in events]


Make = Callable[..., EventSequence]


def test_outcomes_fall_due_between_the_loans(sequence: Make) -> None:
    assert told(list(sequence())) == ["L0", "L1", "o0", "o1", "L2", "o2"]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (Outcomes.NONE, ["L0", "L1", "L2"]),
        (Outcomes.AFTER, ["L0", "L1", "L2", "o0", "o1", "o2"]),
        (Outcomes.ONLY, ["o0", "o1", "o2"]),
    ],
)
def test_outcomes_go_where_they_are_wanted(sequence: Make, outcomes: Outcomes, expected: list[str]) -> None:
    assert told(list(sequence(outcomes=outcomes))) == expected


def test_history_sends_no_outcome_of_its_own(sequence: Make) -> None:
    events = list(sequence(history=True))
    assert told(events) == ["L0", "L1", "L2"]
    assert all("outcome" in json.loads(event.value) for event in events)


def test_refused_row_is_named_once_and_its_outcome_stays_out(sequence: Make) -> None:
    refused: list[RefusedRow] = []
    events = told(list(sequence(refused, outcomes=Outcomes.AFTER)))
    assert "o3" not in events
    assert [(row.number, row.field) for row in refused] == [(4, "features.employees")]


@pytest.mark.parametrize("outcomes", [Outcomes.DUE, Outcomes.AFTER])
def test_row_with_a_bad_outcome_is_refused_whole(sequence: Make, outcomes: Outcomes) -> None:
    refused: list[RefusedRow] = []
    events = sequence(refused, outcomes=outcomes)
    path = events.file.path
    header, first, *others = path.read_text().splitlines()
    cells = first.split(",")
    cells[header.split(",").index("defaulted")] = "perhaps"
    path.write_text("\n".join([header, ",".join(cells), *others]))

    assert {"L0", "o0"}.isdisjoint(told(list(events)))
    assert (1, "defaulted") in [(row.number, row.field) for row in refused]


def test_dates_and_limit_choose_the_loans(sequence: Make) -> None:
    since, until = datetime(2005, 1, 20, tzinfo=UTC), datetime(2005, 3, 1, tzinfo=UTC)
    assert told(list(sequence(since=since, outcomes=Outcomes.NONE))) == ["L1", "L2"]
    assert told(list(sequence(until=until, outcomes=Outcomes.NONE))) == ["L0", "L1"]
    assert told(list(sequence(limit=1))) == ["L0", "o0"]


class FakeKafka:
    def __init__(self, fails_after: int | None = None) -> None:
        self.messages: list[bytes] = []
        self._fails_after = fails_after

    async def publish(self, topic: Topic, messages: Sequence[tuple[bytes | None, bytes]]) -> None:
        if self._fails_after is not None and len(self.messages) >= self._fails_after:
            raise OSError("the broker is away")
        self.messages += [value for _, value in messages]


async def test_failed_production_goes_on_where_it_was(sequence: Make) -> None:
    whole, first, second = FakeKafka(), FakeKafka(fails_after=3), FakeKafka()
    await Sender(whole.publish).send(iter(sequence()), Acknowledged(), asyncio.Event())

    sent = Acknowledged()
    with pytest.raises(OSError, match="away"):
        await Sender(first.publish, rate=30).send(iter(sequence()), sent, asyncio.Event())
    await Sender(second.publish).send(iter(sequence()), sent, asyncio.Event())

    assert sorted(first.messages + second.messages) == sorted(whole.messages)
    assert (sent.loans, sent.outcomes) == (3, 3)


async def test_asked_to_stop_it_sends_no_more(sequence: Make) -> None:
    kafka, stop, sent = FakeKafka(), asyncio.Event(), Acknowledged()
    sender = Sender(kafka.publish, rate=10, acknowledged=lambda _: stop.set())
    await sender.send(iter(sequence()), sent, stop)
    assert sent.events == len(kafka.messages) == 1


async def test_rate_is_kept(sequence: Make) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await Sender(FakeKafka().publish, rate=20).send(iter(sequence()), Acknowledged(), asyncio.Event())
    assert loop.time() - started >= 3 / 20 - 0.05


@pytest.mark.parametrize("options", [{}, {"history": True}, {"outcomes": Outcomes.AFTER}, {"outcomes": Outcomes.ONLY}])
def test_rows_with_an_outcome_are_counted(sequence: Make, options: dict[str, Any]) -> None:
    events = sequence(**options)
    list(events)
    assert events.n_outcomes == 3


def test_file_without_any_outcome_is_said(sequence: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    portfolio = load_portfolio("sba")
    path = sequence().file.path
    validate_file(path, portfolio, Selection(now=NOW))
    assert "No outcome" not in capsys.readouterr().err

    validate_file(path, portfolio, Selection(now=datetime(2005, 1, 1, tzinfo=UTC) + timedelta(days=29), limit=1))
    assert "No outcome was among them: no row has one in defaulted" in capsys.readouterr().err
    validate_file(path, portfolio, Selection(now=datetime(2005, 1, 2, tzinfo=UTC), outcomes=Outcomes.NONE, limit=1))
    assert "No outcome" not in capsys.readouterr().err


def test_history_says_how_many_loans_have_no_outcome_and_will_be_decided(
    sequence: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path, portfolio = sequence().file.path, load_portfolio("sba")

    validate_file(path, portfolio, Selection(now=NOW, history=True))
    assert capsys.readouterr().out.endswith("3 loans with the outcomes inside would be sent, 1 row refused\n")

    validate_file(path, portfolio, Selection(now=datetime(2005, 3, 2, tzinfo=UTC), history=True))
    assert "3 loans (2 with the outcome inside, 1 without, which will be decided)" in capsys.readouterr().out


async def test_loans_that_carry_their_outcome_are_counted_as_they_are_acknowledged(sequence: Make) -> None:
    inside, beside = Acknowledged(), Acknowledged()

    await Sender(FakeKafka().publish).send(iter(sequence(history=True)), inside, asyncio.Event())
    await Sender(FakeKafka().publish).send(iter(sequence()), beside, asyncio.Event())

    assert (inside.loans, inside.outcomes, inside.with_outcome) == (3, 0, 3)
    assert (beside.loans, beside.outcomes, beside.with_outcome) == (3, 3, 0)


def test_rows_refused_by_the_same_rule_are_said_three_times_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    refusals = Refusals(Console(stderr=True), Path("loans.csv"))
    for number in range(1, 6556):
        refusals(RefusedRow(number, "features.state", "", "must be text"))
    refusals(RefusedRow(6556, None, "", "has 1 cells, the header 2"))

    refusals.say_counts()

    assert capsys.readouterr().err.splitlines() == [
        *(f"loans.csv, line {n}: features.state is empty: must be text" for n in (2, 3, 4)),
        "further rows like these are only counted",
        "loans.csv, line 6557: has 1 cells, the header 2",
        "refused rows by field and rule:",
        "    6,555  features.state: must be text",
        "        1  has 1 cells, the header 2",
    ]


def test_few_refused_rows_are_said_and_not_counted_again(capsys: pytest.CaptureFixture[str]) -> None:
    refusals = Refusals(Console(stderr=True), Path("loans.csv"))
    refusals(RefusedRow(1, "loan_id", "1.5", "must be text"))

    refusals.say_counts()

    assert capsys.readouterr().err == "loans.csv, line 2: loan_id = 1.5: must be text\n"


def test_refused_rows_of_many_kinds_fill_no_screen(capsys: pytest.CaptureFixture[str]) -> None:
    refusals = Refusals(Console(stderr=True), Path("loans.csv"))
    for number in range(1, 101):
        refusals(RefusedRow(number, f"features.f{number}", "x", "must be a number"))

    refusals.say_counts()

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 20 + 1 + 1 + 10 + 1
    assert said[-1] == "       90  of other kinds"


def test_file_without_rows_is_said(sequence: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = sequence().file.path
    path.write_text(path.read_text().splitlines()[0])

    assert validate_file(path, load_portfolio("sba"), Selection(now=NOW)) == 0
    assert "loans.csv names its columns and has no rows." in capsys.readouterr().err


def test_bookmark_that_cannot_be_written_is_said_in_a_sentence(sequence: Make) -> None:
    path = sequence().file.path
    bookmark = bookmark_in(path, path, Selection(now=NOW), topic_id="t", portfolio="sba")  # a file is no folder
    with pytest.raises(LoanloopError, match="can't keep how far the file was sent"):
        bookmark.keep(Acknowledged(), Selection(now=NOW))


async def test_a_bookmark_behind_the_last_event_is_not_believed(sequence: Make) -> None:
    kafka = FakeKafka()
    with pytest.raises(LoanloopError, match="with --restart"):
        await Sender(kafka.publish).send(iter(sequence()), Acknowledged(events=10**6), asyncio.Event())
    assert not kafka.messages


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "{}",
        '{"sent": {"loans": 1',
        '{"sent": {"spoilt": 1}, "now": "2026-01-01T00:00:00Z"}',
        '{"sent": {"loans": -5}, "now": "2026-01-01T00:00:00Z"}',
        '{"sent": {"loans": "many"}, "now": "2026-01-01T00:00:00Z"}',
        '{"sent": {"loans": 1}, "now": "2026-01-01T00:00:00"}',
    ],
)
def test_damaged_bookmark_is_said_in_a_sentence(tmp_path: Path, kept: str) -> None:
    file = tmp_path / "loans.csv"
    file.write_text("a\n1\n")
    bookmark = bookmark_in(tmp_path, file, Selection(now=NOW), topic_id="t", portfolio="sba")
    bookmark.path.write_text(kept)
    with pytest.raises(LoanloopError, match="from its beginning with --restart"):
        bookmark.found(Selection(now=NOW))
