"""Logs in two formats, without a loan's fields; metrics by known names."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import get_args

import pytest
import structlog
from loanloop_common.telemetry import CounterName, GaugeName, HistogramName, count, metrics_page, set_up_logging


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


def test_every_metric_is_named_by_service_noun_and_unit() -> None:
    names = [*get_args(CounterName), *get_args(GaugeName), *get_args(HistogramName)]

    for name in names:
        assert re.fullmatch(r"loanloop_(common|ingest|trainer|evaluator|predictor)_[a-z0-9_]+_[a-z]+", name), name


def test_counted_metric_is_on_the_page() -> None:
    count("loanloop_common_outbox_published_total", 2, service="test_telemetry")

    assert b'loanloop_common_outbox_published_total{service="test_telemetry"} 2.0' in metrics_page()
