"""The dashboards are as their code makes them, and no dashboard mixes event time with the wall clock."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.boards.__main__ import FOLDER, made
from tests.support.dashboards import NAMES, Board, Query, boards

PROVISIONING = Path(__file__).parents[3] / "deploy" / "grafana" / "provisioning"
EVENT_TIME = {"window_to", "p.window_to", "occurred_at", "as_of"}
WALL_CLOCK = re.compile(
    r"\b(received_at|decided_at|deployed_at|live_from|live_to|raised_at|rejected_at|created_at|started_at|finished_at"
    r"|evaluated_at|opened_at|closed_at|seen_at|now\(\)|clock_timestamp)\b"
)


def test_committed_dashboards_are_what_the_code_makes() -> None:
    stale = [path.name for path, text in made().items() if path.read_text() != text]

    assert stale == [], "run `python -m deploy.grafana.boards`"
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("board", boards(), ids=str)
def test_a_dashboard_asks_one_source_alone(board: Board) -> None:
    expected = "loanloop-prometheus" if board.name == "services" else "loanloop-postgres"

    assert {query.source for query in board.queries} == {expected}
    assert {panel["datasource"]["uid"] for panel in board.panels} == {expected}


def of_event_time() -> Iterator[Query]:
    return (query for board in boards() if board.name != "services" for query in board.queries)


def test_event_time_alone_is_filtered_by_and_drawn_over() -> None:
    filtered = {column for query in of_event_time() for column in re.findall(r"\$__timeFilter\(([^)]*)\)", query.text)}
    drawn = [query for query in of_event_time() if query.format == "time_series" or query.ref == "Anno"]

    assert filtered <= EVENT_TIME
    assert {str(query): WALL_CLOCK.findall(query.text) for query in drawn if WALL_CLOCK.search(query.text)} == {}


def test_event_time_dashboards_open_where_the_sample_of_loans_is() -> None:
    spans = {(board.model["time"]["from"], board.model["time"]["to"]) for board in boards() if board.name != "services"}

    assert spans == {("2002-01-01T00:00:00Z", "2010-01-01T00:00:00Z")}


def test_panels_are_told_apart_and_say_what_they_rest_on() -> None:
    for board in boards():
        numbers = [panel["id"] for panel in board.model["panels"]]
        assert len(numbers) == len(set(numbers))
        assert [panel["title"] for panel in board.panels if not panel["description"]] == []


def provisioned() -> list[dict[str, Any]]:
    text = (PROVISIONING / "datasources" / "loanloop.yml").read_text()
    return list(yaml.safe_load(text)["datasources"])


def test_sources_of_the_dashboards_are_provisioned() -> None:
    asked = {(q.source, p["datasource"]["type"]) for b in boards() for q in b.queries for p in b.panels[:1]}

    assert asked == {(source["uid"], source["type"]) for source in provisioned()}


def test_no_password_stands_in_the_provisioning() -> None:
    secrets = [secret for source in provisioned() for secret in source.get("secureJsonData", {}).values()]

    assert [re.sub(r"\$__file\{/run/secrets/\S+\}", "(a file)", secret) for secret in secrets] == ["(a file)"]
