"""Metrics: named by convention, documented, and with the values that were given."""

import math
import re
from typing import get_args

import numpy as np
import pytest
from loanloop_common.telemetry import (
    CATALOGUE,
    REGISTRY,
    begin_metrics,
    count,
    metrics_page,
    observe_each,
    replace_series,
    timed,
    watch_gauge,
)
from loanloop_common.telemetry.counters import COUNTERS, CounterName
from loanloop_common.telemetry.document import main
from loanloop_common.telemetry.gauges import GAUGES, GaugeName
from loanloop_common.telemetry.histograms import BULK_HISTOGRAMS, HISTOGRAMS, BulkName, HistogramName
from loanloop_common.telemetry.snapshots import SNAPSHOTS, SnapshotName

LISTS = (
    (CounterName, COUNTERS),
    (GaugeName, GAUGES),
    (HistogramName, HISTOGRAMS),
    (BulkName, BULK_HISTOGRAMS),
    (SnapshotName, SNAPSHOTS),
)
# `_total` is a counter's; these a histogram's own series have.
RESERVED = re.compile(r".*_(count|sum|bucket|created)")


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_every_name_that_can_be_used_has_its_entry() -> None:
    for names, entries in LISTS:
        assert set(get_args(names)) == set(entries)
    assert len(CATALOGUE) == sum(len(entries) for _, entries in LISTS)


@pytest.mark.parametrize("name", CATALOGUE)
def test_names_keep_prometheus_conventions(name: str) -> None:
    assert re.fullmatch(r"loanloop_[a-z][a-z0-9_]*[a-z0-9]", name)
    assert not RESERVED.fullmatch(name)
    assert name.endswith("_total") == (name in COUNTERS or (name in SNAPSHOTS and name.endswith("_total")))
    assert not re.search(r"_(ms|minutes|hours|mb|kb|percent)(_|$)", name), "base units alone"
    assert not {"le", "quantile", "job", "instance"} & set(CATALOGUE[name].labels) - {"instance"}


def test_each_meaning_says_by_itself_what_is_measured() -> None:
    """/metrics shows one without its neighbours."""
    meanings = [about.meaning for about in CATALOGUE.values()]
    leaning = re.compile(r"The same|How many|Of the |When that|With |Since |Begin of its|.*\b(there are|there were)$")

    assert [meaning for meaning in meanings if leaning.match(meaning)] == []
    assert len(set(meanings)) == len(meanings)


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_buckets_rise(name: HistogramName) -> None:
    buckets = HISTOGRAMS[name].buckets

    assert sorted(set(buckets)) == list(buckets)


@pytest.mark.parametrize("name", CATALOGUE)
def test_known_values_are_one_for_each_label(name: str) -> None:
    about = CATALOGUE[name]

    for known in about.known.values():
        assert all(len(values) == len(about.labels) for values in known)


def test_documented_list_is_the_one_in_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_counted_metric_is_on_the_page() -> None:
    count("loanloop_events_stored_total", 2, topic="test_metrics")

    assert b'loanloop_events_stored_total{topic="test_metrics"} 2.0' in metrics_page()


def test_what_a_service_will_count_is_there_before_the_first_time() -> None:
    begin_metrics("ingest")

    assert sample("loanloop_dead_letters_total", reason="conflict") is not None
    assert sample("loanloop_run_duration_seconds_count", kind="collect", result="refused") is not None
    assert sample("loanloop_rest_batch_loans_count") is None, "the predictor's"


def test_what_is_gone_from_a_replaced_metric_has_no_series() -> None:
    replace_series("loanloop_model_f1", {("sba", "v1", "day"): 0.9, ("sba", "v1", "rolling"): 0.8})
    replace_series("loanloop_model_f1", {("sba", "v2", "day"): 0.7})

    assert sample("loanloop_model_f1", preset="sba", version="v2", window="day") == 0.7
    assert b"v1" not in b"".join(line for line in metrics_page().splitlines() if b"loanloop_model_f1" in line)


def test_counter_of_the_database_is_a_counter_from_its_first_look() -> None:
    replace_series("loanloop_deployments_total", {("sba", "deploy"): 17.0})

    assert b"# TYPE loanloop_deployments_total counter" in metrics_page()
    assert sample("loanloop_deployments_total", preset="sba", kind="deploy") == 17.0


def test_watched_gauge_is_read_when_it_is_asked_for() -> None:
    seen = [1.0]
    watch_gauge("loanloop_disk_free_bytes", lambda: seen[-1], folder="test_metrics")
    seen.append(2.0)

    assert sample("loanloop_disk_free_bytes", folder="test_metrics") == 2.0


@pytest.mark.parametrize("times", [1, 10])
def test_array_is_observed_as_the_library_would_observe_each_value(times: int) -> None:
    name = "loanloop_prediction_probability"
    edges = ("0.05", "0.5", "1.0", "+Inf")
    before = [sample(f"{name}_bucket", le=edge) or 0.0 for edge in edges]
    values = np.array([0.0, 0.05, 0.0500001, 0.5, 0.51, 1.0, math.nan] * times)

    observe_each("loanloop_prediction_probability", values)

    after = [sample(f"{name}_bucket", le=edge) or 0.0 for edge in edges]
    # A value on an edge is in the bucket below it; one that is no number is in none.
    assert [now - then for now, then in zip(after, before, strict=True)] == [2 * times, 4 * times, 6 * times, 6 * times]


def test_step_that_fails_has_taken_its_time_too() -> None:
    labels = {"step": "test_metrics"}
    with pytest.raises(ZeroDivisionError), timed("loanloop_batch_step_duration_seconds", **labels):
        raise ZeroDivisionError

    assert sample("loanloop_batch_step_duration_seconds_count", **labels) == 1
