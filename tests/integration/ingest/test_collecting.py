"""Files of a folder become loans of history on Kafka, each row once, bad rows by name."""

import asyncio
import csv
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loanloop_common.errors import Unavailable
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import Pool, create_pool
from loanloop_ingest.collector import Collector
from loanloop_ingest.domain.file_events import RowReader
from loanloop_ingest.store.collected_files import CollectedFileStore
from structlog.testing import capture_logs

from tests.integration.ingest.world import World
from tests.support.eventually import eventually
from tests.support.loans import make_features

READER = RowReader(load_portfolio("sba"))
FILES = "SELECT path, rows_done, rows_total, n_produced, n_refused, finished_at FROM loan_data.collected_files"


def write_loans(path: Path, n: int, **changes: dict[int, Any]) -> Path:
    """`changes` maps a column to values by row number, from 1."""
    loans: list[dict[str, Any]] = [{"loan_id": f"f-{i}", "approved_at": "2005-05-20"} for i in range(1, n + 1)]
    rows = [loan | {"defaulted": i % 5 == 0} | make_features(i) for i, loan in enumerate(loans)]
    for column, values in changes.items():
        for number, value in values.items():
            rows[number - 1][column] = value
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


class FakeKafka:
    """Takes `until` messages, then is away."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.until: int | None = None
        self.at_message: dict[int, Callable[[], object]] = {}

    async def publish(self, messages: Sequence[tuple[bytes | None, bytes]]) -> None:
        if self.until is not None and len(self.events) >= self.until:
            raise Unavailable("the broker is away")
        self.events += [json.loads(value) for _, value in messages]
        if happens := self.at_message.pop(len(self.events), None):
            happens()


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test")
    yield pool
    await pool.close()


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


def make_collector(pool: Pool, kafka: FakeKafka, folder: Path, *, settled_s: float) -> Collector:
    return Collector(
        folder=folder,
        reader=READER,
        store=CollectedFileStore(pool),
        publish=kafka.publish,
        clock=lambda: datetime.now(UTC),
        every_s=3600,
        settled_s=settled_s,
    )


@pytest.fixture
def collector(pool: Pool, kafka: FakeKafka, tmp_path: Path) -> Collector:
    store = CollectedFileStore(pool)
    return Collector(
        folder=tmp_path,
        reader=READER,
        store=store,
        publish=kafka.publish,
        clock=lambda: datetime.now(UTC) + timedelta(hours=1),
        every_s=3600,
        settled_s=5,
    )


async def test_file_is_read_once_whatever_its_name(collector: Collector, kafka: FakeKafka, tmp_path: Path) -> None:
    path = write_loans(tmp_path / "loans.csv", 30)
    await collector.collect()
    await collector.collect()
    path.rename(tmp_path / "renamed.csv")
    await collector.collect()
    assert [event["loan_id"] for event in kafka.events] == [f"f-{n}" for n in range(1, 31)]
    assert all(event["outcome"]["known_at"] == "2005-06-19T00:00:00Z" for event in kafka.events)


async def test_bad_row_is_kept_by_file_row_field_and_rule(
    collector: Collector, kafka: FakeKafka, pool: Pool, tmp_path: Path
) -> None:
    write_loans(tmp_path / "loans.csv", 10, employees={3: "many"}, bank={7: "A\0B"})
    await collector.collect()

    assert len(kafka.events) == 8
    rows = await pool.fetch("SELECT * FROM loan_data.rejected ORDER BY kafka_offset")
    assert [(row["service"], row["kafka_offset"], row["field"]) for row in rows] == [
        ("collector", 3, "features.employees"),
        ("collector", 7, "features.bank"),
    ]
    assert rows[0]["message"].startswith("loans.csv@")
    assert "line 4: features.employees = 'many': must be a whole number from 0 to 100000" in rows[0]["message"]
    assert json.loads(rows[0]["payload"])["employees"] == "many"
    (file,) = await pool.fetch(FILES)
    assert (file["rows_total"], file["n_produced"], file["n_refused"]) == (10, 8, 2)


async def test_after_a_crash_it_goes_on_behind_the_last_acknowledged_rows(
    collector: Collector, kafka: FakeKafka, pool: Pool, tmp_path: Path
) -> None:
    write_loans(tmp_path / "loans.csv", 5000)
    kafka.until = 2000
    with pytest.raises(Unavailable, match="away"):
        await collector.collect()
    (file,) = await pool.fetch(FILES)
    assert (file["rows_done"], file["finished_at"]) == (2000, None)

    kafka.until = None
    await collector.collect()

    assert [event["loan_id"] for event in kafka.events] == [f"f-{n}" for n in range(1, 5001)]
    (file,) = await pool.fetch(FILES)
    assert (file["rows_done"], file["n_produced"]) == (5000, 5000)
    assert file["finished_at"]


async def test_outcomes_known_after_the_file_was_begun_are_not_read_however_late_it_goes_on(
    collector: Collector, kafka: FakeKafka, pool: Pool, tmp_path: Path
) -> None:
    """Or a chunk read twice would be other events: what a row says follows from the moment, the id from that."""
    months_ago = (datetime.now(UTC) - timedelta(days=60)).date().isoformat()
    write_loans(tmp_path / "loans.csv", 3, approved_at={2: months_ago})
    kafka.until = 0
    with pytest.raises(Unavailable, match="away"):
        await collector.collect()
    await pool.execute("UPDATE loan_data.collected_files SET started_at = started_at - interval '40 days'")

    kafka.until = None
    await collector.collect()

    assert [event["loan_id"] for event in kafka.events if "outcome" in event] == ["f-1", "f-3"]


def write_damaged(path: Path) -> None:
    """Its footer is whole and says what the columns are; its pages are not."""
    rows = [{"loan_id": f"d-{n}", "approved_at": "2005-05-20"} | make_features(n) for n in range(20_000)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(255 - byte for byte in content[middle : middle + 3000])
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [lambda p: p.write_bytes(b"PAR1 no"), lambda p: p.write_text("a,b\n1,2\n")])
async def test_unusable_file_does_not_hold_up_the_next(
    collector: Collector, kafka: FakeKafka, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(tmp_path / "a.parquet")
    spoil(tmp_path / "a.csv")
    write_damaged(tmp_path / "a-damaged.parquet")
    write_loans(tmp_path / "b.csv", 3)
    await collector.collect()
    assert [event["loan_id"] for event in kafka.events if event["loan_id"].startswith("f-")] == ["f-1", "f-2", "f-3"]


async def test_file_that_grows_is_read_when_it_stays_as_it_is(pool: Pool, kafka: FakeKafka, tmp_path: Path) -> None:
    path = write_loans(tmp_path / "growing.csv", 300)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    collector = make_collector(pool, kafka, tmp_path, settled_s=2)

    await collector.start()
    for end in range(len(content) // 2, len(content), len(content) // 10):
        path.write_bytes(content[:end])
        await asyncio.sleep(0.1)  # as a slow writer does
        assert not kafka.events
    path.write_bytes(content)
    await eventually(lambda: len(kafka.events) == 300)
    await collector.stop()

    (file,) = await pool.fetch(FILES)
    assert (file["n_produced"], file["n_refused"]) == (300, 0)


async def test_nothing_more_is_sent_of_a_file_that_changes_while_it_is_read(
    collector: Collector, kafka: FakeKafka, tmp_path: Path
) -> None:
    path = write_loans(tmp_path / "loans.csv", 5000)
    kafka.at_message[2000] = lambda: write_loans(path, 4000)
    await asyncio.wait_for(collector.collect(), timeout=30)
    assert [event["loan_id"] for event in kafka.events] == [
        *(f"f-{n}" for n in range(1, 2001)),
        *(f"f-{n}" for n in range(1, 4001)),
    ]


async def test_file_that_never_settles_does_not_keep_a_later_one_waiting(
    pool: Pool, kafka: FakeKafka, tmp_path: Path
) -> None:
    growing = tmp_path / "a-log.csv"
    growing.write_text("x\n")
    collector = make_collector(pool, kafka, tmp_path, settled_s=0.3)
    await collector.start()
    await asyncio.sleep(0.1)  # it has looked at the folder
    write_loans(tmp_path / "b.csv", 3)

    async def collected() -> bool:
        with growing.open("a") as file:
            file.write("x\n")
        return len(kafka.events) == 3

    await eventually(collected)
    await collector.stop()


async def test_file_whose_name_is_no_text_is_said_and_does_not_hold_up_the_next(
    collector: Collector, kafka: FakeKafka, pool: Pool, tmp_path: Path
) -> None:
    (tmp_path / os.fsdecode(b"a-\xff.csv")).write_text("a,b\n1,2\n")
    write_loans(tmp_path / os.fsdecode(b"b-\xfe.csv"), 2)
    write_loans(tmp_path / "c.csv", 3)
    await collector.collect()
    assert len(kafka.events) == 5
    (alert,) = await pool.fetch("SELECT kind, message FROM loan_data.alerts")
    assert (alert["kind"], "no column" in alert["message"]) == ("data_quality", True)


async def test_file_without_the_outcomes_column_is_read_and_that_is_said(
    collector: Collector, kafka: FakeKafka, tmp_path: Path
) -> None:
    path = write_loans(tmp_path / "LOANS.CSV", 3)
    path.write_text(path.read_text().replace("defaulted", "bad", 1))
    with capture_logs() as logs:
        await collector.collect()
    assert len(kafka.events) == 3
    (said,) = [entry["reason"] for entry in logs if entry["event"] == "file_without_outcomes"]
    assert "no column defaulted" in said


@pytest.mark.timeout(600)
async def test_running_ingest_collects_a_folder_through_kafka(world: World, tmp_path: Path) -> None:
    write_loans(tmp_path / "loans.csv", 100)
    await world.start_ingest(LOANLOOP_INGEST__COLLECT_FOLDER=str(tmp_path))
    totals = await world.consumed(100)
    assert totals.stored == 100
    await eventually(lambda: world.pool.fetchval("SELECT finished_at FROM loan_data.collected_files"))
    await world.consumed(100)
    assert await world.pool.fetchval("SELECT count(*) FROM loan_data.processed_data WHERE is_history") == 100
