import io
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from loanloop.demo.chronicle import PHASES, Chronicle
from loanloop.demo.report import print_next_steps
from loanloop.observe.chart import chart
from loanloop.observe.for_machines import as_json
from loanloop.observe.rates import Rates
from loanloop.observe.screen import screen
from loanloop.observe.snapshot import Snapshot
from loanloop.observe.view import headline, status_view, training_line
from loanloop.observe.words import counts_remarks, training_words
from loanloop.runtime.first_steps import FirstSteps
from loanloop_trainer.model.progress import Phase
from rich.console import Console

from tests.support.snapshots import (
    NOW,
    RULE,
    make_breach,
    make_counts,
    make_days,
    make_deployment,
    make_instance,
    make_lag,
    make_snapshot,
    make_training,
    make_version,
)


def busy() -> Snapshot:
    return make_snapshot(
        versions=(make_version(1), make_version(2, passed=None)),
        deployments=(make_deployment(1),),
        days=make_days(date(2005, 2, 1), [0.85] * 100 + [0.7] * 100),
        breaches=(make_breach(),),
        instances=tuple(make_instance(name) for name in ("ingest", "predictor", "trainer", "evaluator")),
        lags=(make_lag("loan.received", "ingest", 7), make_lag("loan.received", "predictor", 0)),
        training=make_training(n_unlabelled=50_000, progress={"epoch": 3, "epochs": 6, "loss": 0.2131, "eta_s": 28.0}),
    )


def printed(view: Any, *, width: int = 80, height: int = 24) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_screen_fits_a_terminal_of_80_by_24_and_shows_everything() -> None:
    lines = printed(screen(busy(), Rates(), None, width=80, height=24)).splitlines()

    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for wanted in (
        "ingest",
        "loan.received",
        "epoch 3/6",
        "loss 0.213",
        "about 28 s to go",
        "0.80",
        "▲v1",
        "breach",
        "q quits",
    ):
        assert wanted in text


def test_screen_says_that_the_database_is_away_and_keeps_what_was_known() -> None:
    text = printed(screen(busy(), Rates(), "PostgreSQL at localhost does not answer", width=80, height=24))

    assert "PostgreSQL at localhost does not answer" in text
    assert "ingest" in text


def test_screen_without_any_snapshot_says_what_to_start() -> None:
    assert "start `loanloop up`" in printed(
        screen(None, Rates(), "nothing runs: start `loanloop up`", width=80, height=24)
    )


def test_figures_name_the_preset_and_its_leaking_field() -> None:
    text = printed(status_view(busy(), width=100), width=100)

    assert "LEAK: term_months · preset sba" in text


def test_watch_shows_the_leak_and_whole_heads_of_columns_on_80_columns() -> None:
    text = printed(screen(busy(), Rates(), None, width=80, height=24))

    assert "LEAK: term_months · preset sba" in text
    assert re.search(r"topic → group +sent +lag +/s", text)


def test_status_says_why_a_version_was_rejected_and_who_promoted_it_all_the_same() -> None:
    promoted = replace(make_deployment(1), kind="promote", actor="desk", login="operator", reason="the flood")
    snapshot = make_snapshot(versions=(make_version(1, passed=False),), deployments=(promoted,))

    text = printed(status_view(snapshot, width=100), width=100)

    assert "v1 was rejected: F1 0.849" in text
    assert "v1 was promoted against the gate by desk (logged in as operator): the flood" in text


def test_status_without_versions_shows_no_empty_table_of_them() -> None:
    text = printed(status_view(make_snapshot(), width=80))

    assert "versions: none yet" in text
    assert "loans from – to" not in text


def test_status_calls_a_service_away_whose_heartbeat_stopped() -> None:
    text = printed(status_view(make_snapshot(instances=(make_instance("ingest", age_s=42),)), width=80))

    assert "away for 42 s" in text


def test_status_shows_a_consumer_that_retries() -> None:
    instance = make_instance("ingest", detail={"parts": {"ingest": "retrying"}})

    assert "retrying" in printed(status_view(make_snapshot(instances=(instance,)), width=80))


def test_a_version_is_one_line_of_80_columns_however_many_loans_it_has() -> None:
    many = replace(make_version(10), n_rows=1_234_567)
    versions = (many, make_version(11, passed=False), make_version(12, passed=None))
    snapshot = make_snapshot(versions=versions, deployments=(replace(make_deployment(1), version="v10"),))

    lines = printed(status_view(snapshot, width=80), width=80).splitlines()

    assert any(re.search(r"^v10 .* 1,234,567 .* passed +12:00 \(2005-01-01\)", line) for line in lines)
    assert any(re.search(r"^v12 .* judging", line) for line in lines)


def test_counts_of_a_million_loans_are_not_broken_in_the_middle_on_80_columns() -> None:
    counts = make_counts(
        received=1_200_000, stored=1_234_567, n_loans=1_111_111, history=1_000_000, labelled=1_200_000, removed=12
    )
    text = printed(status_view(make_snapshot(loans=counts), width=80), width=80)

    for line in (
        "loans received 1,200,000 · stored 1,234,567 · rejected 0 · duplicates 0",
        "received counts this Kafka alone, not what came before a restore or a new topic",
        "123,456 stored tell again of a loan; decided unless they have its outcome",
        "removed by Kafka before they were read 12",
        "history 1,000,000 · scored 50 · decided 50",
        "labelled 1,200,000 · outcomes waiting for their loan 0",
    ):
        assert line in [printed_line.rstrip() for printed_line in text.splitlines()]


def test_counts_that_add_up_are_left_without_a_remark() -> None:
    assert list(counts_remarks(make_counts())) == []
    assert list(counts_remarks(make_counts(received=None))) == []


def test_before_the_first_model_a_predictor_waits_for_it_and_with_one_its_loans_wait() -> None:
    waiting = (make_instance("predictor", detail={"parts": {"loans": "waiting", "rest": "serving"}}),)
    before = make_snapshot(instances=waiting)
    after = make_snapshot(instances=waiting, deployments=(make_deployment(1),))

    status = printed(status_view(before, width=80))
    watch = printed(screen(before, Rates(), None, width=80, height=24))
    served = printed(status_view(after, width=80))

    assert re.search(r"predictor +waits for a model", status)
    assert re.search(r"predictor +waits for a model", watch)
    assert "wait in Kafka until the first model is live" in status
    assert re.search(r"predictor +loans waiting", served)
    assert "wait in Kafka" not in served


def test_status_and_watch_name_every_part_that_is_not_at_work_on_one_line_in_watch() -> None:
    parts = {"outbox": "failing", "judging": "looking", "rolling": "failing", "evaluator": "consuming"}
    instances = (make_instance("ingest"), make_instance("evaluator", detail={"parts": parts}))
    snapshot = make_snapshot(instances=instances)

    assert "outbox failing, rolling failing" in printed(status_view(snapshot, width=100), width=100)
    shown = printed(screen(snapshot, Rates(), None, width=80, height=24)).splitlines()
    (line,) = [line for line in shown if "evaluator" in line]
    assert "outbox failing" in line
    assert len(shown) <= 24
    assert as_json(snapshot)["instances"][1]["troubled"] == {"outbox": "failing", "rolling": "failing"}


def test_parts_that_are_at_work_are_up() -> None:
    parts = {"outbox": "looking", "loans": "consuming", "rest": "serving"}
    snapshot = make_snapshot(instances=(make_instance("predictor", detail={"parts": parts}),))

    assert " up " in printed(status_view(snapshot, width=80))


def test_json_has_the_lag_by_topic_and_the_state_of_each_service() -> None:
    facts = msgspec.json.decode(msgspec.json.encode(as_json(busy())))

    assert facts["lags"][0]["waiting"] == 7
    assert {row["state"] for row in facts["instances"]} == {"up"}
    assert facts["live_version"] == "v1"
    assert facts["f1_by_day"]["2005-02-01"] == 0.85


def test_chart_marks_deployments_and_breaches_on_the_axis() -> None:
    days = make_days(date(2005, 2, 1), [0.85] * 300)
    breach = make_breach(opened_on=date(2005, 8, 1))

    lines = chart(RULE, days, (make_deployment(1),), (breach,), width=80, height=8).plain.splitlines()

    assert len(lines) == 8
    assert "▲v1" in lines[-2]
    assert "!" in lines[-2]
    assert "Feb 2005" in lines[-1]


def test_chart_without_a_judged_day_says_what_its_days_wait_for() -> None:
    known = "No day is judged yet: a day counts once its outcomes are known"

    assert chart(RULE, (), (), (), width=80, height=8).plain == (
        f"{known} and its loans are 365 days old (maturity_days)."
    )
    assert chart(replace(RULE, maturity_days=0), (), (), (), width=80, height=8).plain == f"{known}."


@pytest.mark.parametrize(("metric", "shown"), [("f1", "F1 0.849 passed"), ("roc_auc", "ROC-AUC 0.968 passed")])
def test_watch_shows_the_gates_figure_of_the_policys_metric(metric: str, shown: str) -> None:
    snapshot = make_snapshot(versions=(make_version(1),), rule=replace(RULE, metric=metric))

    assert shown in printed(screen(snapshot, Rates(), None, width=80, height=24))


def test_rates_are_messages_a_second_between_snapshots() -> None:
    rates, lag = Rates(), make_lag("loan.received", "ingest", 0)
    later = make_lag("loan.received", "ingest", 0).__class__(
        topic=lag.topic, group=lag.group, committed=lag.committed + 500, end=2000
    )

    rates.add(make_snapshot(lags=(lag,)))
    rates.add(make_snapshot(lags=(later,), taken_at=NOW + timedelta(seconds=2)))

    assert rates.of(lag) == 250


def test_chronicle_tells_each_fact_once() -> None:
    chronicle = Chronicle()

    first, again = chronicle.news(busy()), chronicle.news(busy())

    assert any(line.startswith("BREACH on 2008-06-01") for line in first)
    assert again == []


def test_the_headline_names_both_clocks_of_event_time() -> None:
    snapshot = make_snapshot(stream_day=datetime(2009, 6, 15, tzinfo=UTC), as_of=datetime(2010, 1, 28, tzinfo=UTC))

    assert headline(snapshot).plain.endswith(" · event time: last decided loan of 2009-06-15, outcomes of 2010-01-28")
    assert "event time" not in headline(make_snapshot(stream_day=None, as_of=None)).plain


def test_labels_that_are_too_young_to_count_bring_no_training_nearer() -> None:
    waiting = make_snapshot(loans=make_counts(labelled=8_000, mature=3_000), as_of=NOW)

    young = "5,000 more do not count yet, by maturity_days or min_outcomes"
    assert training_line(waiting).plain == f"training: none yet (3,000 of 30,000 labelled loans; {young})"
    assert "yet, by min_outcomes)" in training_line(replace(waiting, as_of=None)).plain
    assert "do not count" not in training_line(make_snapshot(loans=make_counts(labelled=3_000, mature=3_000))).plain


def test_chronicle_tells_what_the_audit_found() -> None:
    warned = make_training(progress={"audit_warnings": {"term_months": "term_months alone gives ROC-AUC 0.965"}})

    assert "audit WARNING: term_months alone gives ROC-AUC 0.965" in Chronicle().news(make_snapshot(training=warned))


def test_chronicle_tells_in_the_order_of_the_story() -> None:
    warned = make_training("succeeded", trigger="breach", phase="done", progress={"audit_warnings": {"a": "too good"}})
    breach = make_breach(relapses=1, closed_on=date(2008, 7, 1), closed_by="recovery")

    lines = Chronicle().news(make_snapshot(training=warned, breaches=(breach,)))

    told = [
        "BREACH on",
        "BREACH again",
        "closed by recovery",
        "starts a training",
        "audits each",
        "too good",
        "pretrains",
    ]
    places = [next(n for n, line in enumerate(lines) if words in line) for words in told]
    assert places == sorted(places)


def test_lines_to_paste_are_whole_on_a_narrow_terminal() -> None:
    steps = FirstSteps(produce="p" * 300, predict="q" * 200, consume="c" * 100)
    console = Console(file=io.StringIO(), width=80)

    print_next_steps(console, Path("data"), steps, command=".venv/bin/loanloop")

    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    up = ".venv/bin/loanloop up --data-dir data"
    assert {f"  {step}" for step in (up, steps.produce, steps.predict, steps.consume)} <= set(lines)


def test_each_phase_of_a_training_has_a_sentence_and_none_is_told_that_was_not_passed() -> None:
    assert set(PHASES) == {"load", *get_args(Phase)}
    at_refit = make_training("running", phase="refit")

    told = Chronicle().news(make_snapshot(training=at_refit))
    told_without = Chronicle().news(make_snapshot(training=make_training("running", phase="calibrate")))

    assert f"trainer: {PHASES['refit']}" in told
    assert not {f"trainer: {PHASES[phase]}" for phase in ("refit", "boost")} & {*told_without}
    assert f"trainer: {PHASES['calibrate']}" in told_without


@pytest.mark.parametrize(
    ("n", "said"), [(0, "36,000 loans 2002"), (4_000, "36,000 loans and 4,000 without an outcome, 2002")]
)
def test_training_says_on_how_many_loans_and_how_many_have_no_outcome(n: int, said: str) -> None:
    training = make_training("running", n_unlabelled=n)

    assert said in training_words(training)
    assert any("4,000 without an outcome" in line for line in Chronicle().news(make_snapshot(training=training))) is (
        n > 0
    )
