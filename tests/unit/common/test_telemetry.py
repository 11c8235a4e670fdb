"""Logs in two formats, without a loan's fields."""

import io
import json
import logging
from collections.abc import Iterator

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
    logging.getLogger("uvicorn.error").warning("from the %s", "library")

    own, librarys = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (own["event"], own["n"], own["service"], own["level"]) == ("loans_stored", 3, "ingest", "info")
    assert librarys["event"] == "from the library"


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


def test_client_of_a_broker_that_is_away_says_so_once() -> None:
    stream = io.StringIO()
    set_up_logging("ingest", log_format="json", stream=stream)

    for _ in range(100):
        logging.getLogger("aiokafka.conn").error("Unable connect to node with id %s", 1)

    assert len(stream.getvalue().splitlines()) == 1
