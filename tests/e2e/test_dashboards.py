"""Each panel's query, as Grafana sends it, on a loop that has turned: it answers, with data, in one clock."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from loanloop_common.events import Topic
from loanloop_common.kafka import publish_batch

from tests.e2e.world import SERVICES, World, loans
from tests.support.dashboards import Board, Query, boards, fill_in
from tests.support.database_users import dsn_of_reader
from tests.support.eventually import eventually
from tests.support.scraping import Prometheus, scraping

pytestmark = pytest.mark.timeout(600)

EVENT_TIME_ENDS = datetime(2010, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def services_of(world: World) -> AsyncIterator[Prometheus | None]:
    """All four, and the Prometheus that scrapes them from the beginning; None where it is not installed."""
    policy = world.portfolio.read_text().replace("new_labels = 1000\n", "new_labels = 100000\n", 1)
    more = "[policy]\ntraining_window_months = 1\nmax_rejected_share = 0.01"
    world.portfolio.write_text(policy.replace("[policy]", more))
    await world.start()
    urls = await eventually(lambda: urls_of(world), within_s=60)
    if shutil.which("prometheus") is None:
        yield None
        return
    async with scraping(urls, world.portfolio.parent) as prometheus:
        yield prometheus


async def urls_of(world: World) -> dict[str, str] | None:
    rows = await world.pool.fetch("SELECT service, url FROM loan_data.service_instances WHERE url IS NOT NULL")
    return {row["service"]: row["url"] for row in rows} if len(rows) == len(SERVICES) else None


async def a_loop_turns(world: World) -> None:
    """A model, its breach, the next model; refused and repeated messages, an alert, requests."""
    history = await world.first_model()
    await send_bad_and_repeated(world, history)
    answers = [await world.predict(loan) for loan in loans(3, first=9000)]
    assert {answer.status_code for answer in answers} == {200}
    later = timedelta(days=365)
    await world.decide(loans(24 * 40, first=len(history), later=later, reversed_world=True))
    await eventually(lambda: world.pool.fetchval("SELECT count(*) > 0 FROM loan_data.breaches"), within_s=60)
    await eventually(lambda: world.pool.fetchval("SELECT count(*) > 1 FROM loan_data.deployments"), within_s=120)
    await eventually(lambda: world.pool.fetchval("SELECT count(*) > 0 FROM loan_data.alerts"), within_s=60)


async def send_bad_and_repeated(world: World, history: list[Any]) -> None:
    bad = [
        b'{"event_id": "00000000-0000-4000-8000-%012d", "occurred_at": "2005-01-01T00:00:00Z", "schema_version": 1, '
        b'"loan_id": "bad", "features": {"purpose": "car", "income": -1, "share": 0.5}}' % n
        for n in range(100)
    ]
    await publish_batch(world.broker, Topic.LOAN_RECEIVED, [(b"bad", event) for event in bad])
    await world.send(Topic.LOAN_RECEIVED, [loan.history for loan in history[:5]])


async def test_every_query_of_a_dashboard_answers_with_data_of_one_clock(world: World) -> None:
    async with services_of(world) as prometheus:
        await a_loop_turns(world)
        await every_query_to_postgresql(world)
        if prometheus is None:
            pytest.skip("The queries to Prometheus were not run: it is not on PATH, install Debian's prometheus.")
        assert await prometheus.down() == []
        await eventually(lambda: every_query_to_prometheus(prometheus), within_s=60, every_s=2)


async def every_query_to_prometheus(prometheus: Prometheus) -> bool:
    """Has data; what the evaluator reads from the database comes with its next look."""
    empty = {str(query) for query in queries_to_prometheus() if not await prometheus.ask(query)}
    assert empty <= DRAWN_IN_TROUBLE
    return True


async def every_query_to_postgresql(world: World) -> None:
    reader = await asyncpg.connect(await dsn_of_reader(world.dsn))  # as Grafana
    try:
        for board in boards():
            if board.name == "services":
                continue
            values = await values_of(reader, board)
            for query in board.queries:
                check(query, await reader.fetch(filled(board, query.text, values)))
    finally:
        await reader.close()


def queries_to_prometheus() -> list[Query]:
    return [query for board in boards() for query in board.queries if query.source == "loanloop-prometheus"]


# A loop in which nothing is tried again or fails has none of these series.
DRAWN_IN_TROUBLE = {"services: Tried again (C)", "services: Queries that failed (A)"}


async def values_of(reader: Any, board: Board) -> dict[str, str]:
    """What each variable is where a user has chosen nothing."""
    values: dict[str, str] = {}
    for variable in board.variables:
        if variable["type"] == "query":
            options = await reader.fetch(filled(board, variable["query"], values))
            assert options, f"{board.name}: {variable['name']} has nothing to choose from"
            values[variable["name"]] = options[0][0]
        else:
            values[variable["name"]] = variable["current"]["value"]
    return values


def filled(board: Board, text: str, values: dict[str, str]) -> str:
    return fill_in(text, values, board.time_range(datetime.now(UTC)))


def check(query: Query, rows: list[Any]) -> None:
    assert rows, f"{query} returns nothing"
    for column in rows[0].keys():  # noqa: SIM118 - a record is a sequence of values
        cells = [row[column] for row in rows]
        assert any(cell is not None for cell in cells) or column in MAY_BE_EMPTY, f"{query}: {column} is empty"
        for cell in cells:
            if isinstance(cell, date):
                moment = cell if isinstance(cell, datetime) else datetime(cell.year, cell.month, cell.day, tzinfo=UTC)
                assert (moment > EVENT_TIME_ENDS) == ("wall clock" in column), f"{query}: {column} is {cell}"
    if query.format == "time_series" or query.ref == "Anno":
        times = [row["time"] for row in rows]
        assert times == sorted(times), f"{query} is not in order"


# What a loop without a misfortune has not.
MAY_BE_EMPTY = {"error", "rule", "previous"}
