"""Logs in two formats, without a loan's fields."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
import structlog
from loanloop_common.telemetry import set_up_logging


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_json_logs_are_one_object_a_line_with_the_service() -> None:
    stream = io.StringIO()
    set_up_logging("ingest", log_format="json", stream=stream)

    structlog.get_logger().info("loans_stored", n=3)
    logging.getLogger("a.library").warning("from the %s", "library")

    own, librarys = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (own["event"], own["n"], own["service"], own["level"]) == ("loans_stored", 3, "ingest", "info")
    assert (librarys["event"], librarys["logger"]) == ("from the library", "a.library")


def test_moments_are_written_as_json_has_them() -> None:
    stream = io.StringIO()
    set_up_logging("evaluator", log_format="json", stream=stream)

    after, last = datetime(2008, 5, 20, 1, 2, 3, tzinfo=UTC), date(2008, 5, 21)
    structlog.get_logger().info("challenger_waits", after=after, last=last)

    line = json.loads(stream.getvalue())
    assert (line["after"], line["last"]) == ("2008-05-20T01:02:03+00:00", "2008-05-21")


def test_a_figure_that_is_no_number_makes_no_line_that_is_no_json() -> None:
    stream = io.StringIO()
    set_up_logging("trainer", log_format="json", stream=stream)

    structlog.get_logger().info("model_trained", roc_auc=float("nan"), metrics={"f1": float("inf")}, n_rows=3)

    line = json.loads(stream.getvalue(), parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert (line["roc_auc"], line["metrics"], line["n_rows"]) == (None, {"f1": None}, 3)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_traceback_shows_no_local_variable(log_format: str) -> None:
    stream = io.StringIO()
    set_up_logging("ingest", log_format="json" if log_format == "json" else "console", stream=stream)

    def score() -> None:
        income = "".join(["se", "cret"])
        raise ValueError(len(income))

    try:
        score()
    except ValueError as error:
        structlog.get_logger().error("batch_failed", exc_info=error)

    assert "ValueError" in stream.getvalue()
    assert "secret" not in stream.getvalue()


CLIENTS = pytest.mark.parametrize("client", ["aiokafka.conn", "opentelemetry.exporter.otlp.proto.http.trace_exporter"])


def said_by(client: str, *lines: tuple[str, *tuple[object, ...]]) -> list[str]:
    stream = io.StringIO()
    set_up_logging("ingest", log_format="json", stream=stream)
    for line, *values in lines:
        logging.getLogger(client).error(line, *values)
    return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


@CLIENTS
def test_client_of_a_server_that_is_away_says_so_once(client: str) -> None:
    assert len(said_by(client, *[("Unable connect to node with id %s", 1)] * 100)) == 1
    retries = [("Transient error %s, retrying in %.2fs.", "refused", n + 0.17) for n in range(100)]
    assert said_by(client, *retries) == ["Transient error refused, retrying in 0.17s."]


@CLIENTS
def test_another_cause_is_said_though_its_line_is_the_same(client: str) -> None:
    line = "Unable connect to node with id %s: %s"
    causes = [(1, "refused"), (2, "certificate has expired"), (1, "certificate has expired")]

    assert said_by(client, *[(line, *cause) for cause in causes * 2]) == [line % cause for cause in causes]


def test_what_was_said_takes_no_more_memory_than_200_lines() -> None:
    told = said_by("aiokafka.conn", *[("node %s", n) for n in range(201)], ("node %s", 200), ("node %s", 0))

    assert told[-2:] == ["node 200", "node 0"]  # the oldest was forgotten, the newest not


def test_a_pool_that_waits_for_its_database_says_nothing_of_it_and_all_else() -> None:
    slow = "Pool.close() is taking over 60 seconds to complete."

    said = said_by("asyncpg.pool", ("Failed to restore the pool connection floor; retrying",), (slow,))

    assert said == [slow]


def test_a_line_that_does_not_fit_its_values_does_not_end_the_client() -> None:
    assert said_by("aiokafka.conn", ("node %d", "x"), ("node 2",)) == ["node 2"]
