"""Spans as a collector gets them: real OTLP over HTTP, decoded by OpenTelemetry's own protobuf."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from loanloop_common.kafka import RetryPolicy
from loanloop_common.kafka.handling import Handling
from loanloop_common.tracing import begin_span, begin_tracing, current_traceparent, end_tracing, is_tracing, span
from loanloop_predictor.api import make_api
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from tests.support.collector import Collector, attributes_of, hangs_on
from tests.support.loans import make_features
from tests.support.records import make_record
from tests.support.rest_in_memory import FakeDecider, api_in_memory

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
LOAN = {"loan_id": "a", "features": make_features(1)}


def traceparent(number: int, *, flags: str = "01") -> str:
    return f"00-{number:032x}-{number:016x}-{flags}"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """What was begun is sent by `end_tracing`."""
    with Collector().listening() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        begin_tracing("test", instance_id="test-1")
        assert is_tracing()
        yield collector
        end_tracing()


def sent(collector: Collector, name: str) -> Span:
    end_tracing()
    (found,) = collector.named(name)
    return found


async def handled(records: Sequence[Any], *, attempts_that_fail: int = 0) -> str | None:
    """What is current while the batch is finished, which is another task's work."""
    inside: str | None = None
    left = attempts_that_fail

    async def finish() -> None:
        nonlocal inside, left
        inside = current_traceparent()
        if left:
            left -= 1
            raise OSError("away")

    async def handle(_: Sequence[Any]) -> Any:
        return finish

    retry = RetryPolicy(attempts=2, first_delay_s=0)
    handling = Handling(handle, name="loans", commits=False, retry=retry, stopping=asyncio.Event())
    await handling.take(records, None)
    await handling.finish_within(5)
    return inside


async def test_a_batch_is_one_span_with_links_to_the_traces_that_somebody_wants_to_see(collector: Collector) -> None:
    traced = [("traceparent", traceparent(7).encode())]
    unsampled = [("traceparent", traceparent(8, flags="00").encode())]
    inside = await handled([make_record(), make_record(headers=traced), make_record(headers=unsampled)])

    batch = sent(collector, "process loans")
    assert hangs_on(inside, batch)
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in batch.links] == [(f"{7:032x}", f"{7:016x}")]
    assert (batch.kind, batch.parent_span_id) == (Span.SPAN_KIND_CONSUMER, b"")
    assert attributes_of(batch)["messaging.batch.message_count"] == 3
    assert collector.spans[0][0] == "loanloop-test"
    assert batch.status.code == Status.STATUS_CODE_UNSET


async def test_a_batch_has_no_more_links_than_a_span_may_have(collector: Collector) -> None:
    records = [make_record(headers=[("traceparent", traceparent(n).encode())]) for n in range(1, 1000)]
    await handled(records)
    assert len(sent(collector, "process loans").links) == 128


async def test_a_batch_that_is_not_done_is_a_span_that_failed(collector: Collector) -> None:
    await handled([make_record()], attempts_that_fail=2)
    assert sent(collector, "process loans").status.code == Status.STATUS_CODE_ERROR


async def test_a_batch_that_is_broken_off_is_a_span_that_failed(collector: Collector) -> None:
    async def forever(*_: Any) -> Any:
        await asyncio.Event().wait()

    async def finish_later(_: Sequence[Any]) -> Any:
        return forever

    for handle in (forever, finish_later):
        handling = Handling(handle, name="loans", commits=False, retry=RetryPolicy(), stopping=asyncio.Event())
        taking = asyncio.create_task(handling.take([make_record()], None))
        await asyncio.wait({taking}, timeout=0.05)
        taking.cancel()
        await handling.finish_within(0)
        await asyncio.wait({taking})
        await asyncio.sleep(0)
    end_tracing()

    assert [batch.status.message for batch in collector.named("process loans")] == ["CancelledError()"] * 2


async def test_what_is_rare_has_its_trace_in_its_log_lines_and_says_what_it_failed_of(collector: Collector) -> None:
    bound = []

    def train() -> None:
        with span("training", run_id="r", trigger="labels") as training:
            bound.append(get_contextvars()["trace_id"])
            training.note(exit_code=3)
            raise OSError("no disk")

    with pytest.raises(OSError, match="disk"):
        train()
    assert current_traceparent() is None

    found = sent(collector, "training")
    assert [found.trace_id.hex()] == bound
    assert attributes_of(found) == {"run_id": "r", "trigger": "labels", "exit_code": 3}
    assert (found.status.code, "no disk" in found.status.message) == (Status.STATUS_CODE_ERROR, True)


async def test_a_request_is_a_span_of_the_callers_trace_and_its_loans_hang_on_it(collector: Collector) -> None:
    decider = FakeDecider()
    transport = httpx.ASGITransport(make_api(api_in_memory(decider)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://predictor") as client:
        await client.post("/predict", json=LOAN, headers={"traceparent": traceparent(9)})
        await client.get("/health")
        decider.away = True
        assert (await client.post("/predict", json=LOAN)).status_code == 503
    end_tracing()

    of_caller, own = collector.named("POST /predict")
    assert (of_caller.trace_id.hex(), of_caller.parent_span_id.hex()) == (f"{9:032x}", f"{9:016x}")
    assert of_caller.kind == Span.SPAN_KIND_SERVER
    assert attributes_of(of_caller)["http.response.status_code"] == 200
    assert (own.parent_span_id, own.status.code) == (b"", Status.STATUS_CODE_ERROR)
    first, second = decider.traceparents
    assert hangs_on(first, of_caller)
    assert hangs_on(second, own)
    assert len(collector.spans) == 2


@pytest.mark.parametrize(
    "other", [{}, {ENDPOINT: "x", "OTEL_SDK_DISABLED": "true"}, {ENDPOINT: "x", "OTEL_TRACES_EXPORTER": "none"}]
)
async def test_without_a_collector_no_span_is_made_and_no_link_looked_for(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    for name, value in other.items():
        monkeypatch.setenv(name, value)
    begin_tracing("test", instance_id="test-1")

    made = begin_span("batch", {}, links=lambda: pytest.fail("looked for"))
    with made.current(), span("training"):
        assert (is_tracing(), made.traceparent, current_traceparent()) == (False, None, None)
        assert "trace_id" not in get_contextvars()
    made.end()


def test_where_the_extra_is_missing_the_service_runs_on_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.delitem(sys.modules, "loanloop_common.tracing.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with capture_logs() as lines:
        begin_tracing("test", instance_id="test-1")
    assert not is_tracing()
    assert [(line["event"], "loanloop[tracing]" in line["why"]) for line in lines] == [("tracing_not_installed", True)]


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096", "max_export_batch_size"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "x", "OTEL_SPAN_LINK_COUNT_LIMIT"),
        ("OTEL_TRACES_EXPORTER", "otlp,console", "OTEL_TRACES_EXPORTER is 'otlp,console'"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is 'grpc'"),
    ],
)
def test_a_wrong_variable_of_opentelemetry_costs_the_spans_and_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv(variable, value)
    with capture_logs() as lines:
        begin_tracing("test", instance_id="test-1")
    assert not is_tracing()
    assert [(line["event"], line["log_level"], named in line["why"]) for line in lines] == [
        ("tracing_not_begun", "warning", True)
    ]


def test_a_variable_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    end_tracing()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    begin_tracing("test", instance_id="test-1")
    with span("training"):
        pass
    assert sent(collector, "training")


def test_a_collector_that_is_away_holds_up_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    begin_tracing("test", instance_id="test-1")
    with span("training"):
        pass
    begun = time.monotonic()
    end_tracing(within_s=0.3)
    assert time.monotonic() - begun < 2
