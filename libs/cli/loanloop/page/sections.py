"""A Snapshot as the parts of the page, by their places in it."""

from collections.abc import Callable, Iterator
from datetime import datetime

from loanloop.observe.rates import Rates
from loanloop.observe.snapshot import Alert, ModelVersion, Snapshot
from loanloop.observe.view import breach_line, version_remarks
from loanloop.observe.words import (
    clock,
    clock_words,
    figure,
    first_labels_words,
    live_words,
    lived_words,
    moment,
    month_of,
    training_words,
)
from loanloop.page.looking import Seen
from loanloop.page.loop import DOES, loop_section
from loanloop.page.markup import Markup, joined, kind_of, section, spaced, table, tag
from loanloop.page.plot import chart_section

SHOWN_VERSIONS, SHOWN_ALERTS = 8, 6
NOTICE, STAMP = "notice", "stamp"


def sections_of(seen: Seen) -> dict[str, Markup]:
    """Empty where there is nothing to say: the page has the same places always."""
    snapshot = seen.snapshot
    places = {NOTICE: _notice(seen), STAMP: Markup()} | dict.fromkeys(SECTIONS, Markup())
    if snapshot is not None:
        places |= {name: make(snapshot, seen.rates) for name, make in SECTIONS.items()}
        places[STAMP] = joined("seen at ", clock(snapshot.taken_at), " UTC")
    return places


def _notice(seen: Seen) -> Markup:
    """What is amiss, in words that stay the same while it is: a screen reader reads out what changes here."""
    snapshot = seen.snapshot
    if snapshot is None:
        return tag("p", seen.problem or "Looking for the installation …", class_="bad" if seen.problem else "dim")
    said = [_paragraph(text, kind) for text, kind in _amiss(snapshot)]
    if seen.problem:
        said.insert(0, _paragraph(f"{seen.problem}; what follows is of {clock(snapshot.taken_at)} UTC.", "bad"))
    return joined(*said) if said else _paragraph("Everything is at work.", "good")


def _amiss(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    if snapshot.kafka_problem:
        yield snapshot.kafka_problem, "bad"
    away = [instance.instance_id for instance in snapshot.instances if not instance.is_alive]
    if away:
        yield f"Away: {', '.join(away)}.", "bad"
    seen = {instance.service for instance in snapshot.instances}
    missing = [name for name in DOES if name not in seen]
    if missing:
        yield f"Not running: {', '.join(missing)}.", "bad"
    if snapshot.open_breach:
        yield f"{breach_line(snapshot).plain}.", "bad"
    if snapshot.live is None:
        yield "No model is live yet.", "warn"


def _paragraph(text: str, kind: str) -> Markup:
    return tag("p", text, class_=kind)


def _head(snapshot: Snapshot, _: Rates) -> Markup:
    rule, live, clocks = snapshot.rule, snapshot.live, clock_words(snapshot)
    facts = [joined("preset ", tag("strong", rule.portfolio)), live_words(live, snapshot.taken_at) if live else None]
    facts.append(f"event time: {', '.join(clocks)}" if clocks else None)
    leaks = [
        tag("p", tag("strong", f"LEAK: {field}. "), reason, class_="warn") for field, reason in rule.warnings
    ]  # fmt: skip
    if leaks:
        leaks.append(tag("p", f"Figures of {rule.portfolio} show that the loop works; they say nothing about lending."))
    lines = [tag("p", spaced(*facts)), tag("div", *leaks, class_="leak") if leaks else None]
    return joined(*lines)


def _metric(snapshot: Snapshot, _: Rates) -> Markup:
    rule = snapshot.rule
    breach = tag("p", breach_line(snapshot).plain, class_="bad" if snapshot.open_breach else "dim")
    title = f"{rule.metric_name} of {rule.window_days} days, by event time"
    return section(title, _leaks_named(snapshot), _newest_value(snapshot), chart_section(snapshot), breach)


def _newest_value(snapshot: Snapshot) -> Markup | None:
    threshold = snapshot.rule.threshold
    for day in reversed(snapshot.days):
        if day.value is not None:
            value = tag("b", figure(day.value), class_="bad" if day.value < threshold else "good")
            return tag("p", value, f" on {day.day}, threshold {threshold:g}")
    return None


def _leaks_named(snapshot: Snapshot) -> Markup:
    fields = ", ".join(field for field, _ in snapshot.rule.warnings)
    leak = tag("span", f" · LEAK: {fields}", class_="warn") if fields else None
    return tag("p", f"preset {snapshot.rule.portfolio}", leak, class_="dim")


def _versions(snapshot: Snapshot, _: Rates) -> Markup:
    if not snapshot.versions:
        return section("Versions", tag("p", "None yet.", class_="dim"))
    newest = snapshot.versions[: -SHOWN_VERSIONS - 1 : -1]
    headers = ["version", "gate", ">F1", ">AUC", ">loans", "loans of", "live from (loans of)"]
    older = len(snapshot.versions) - len(newest)
    remarks = [tag("p", line.plain, class_=kind_of(str(line.style))) for line in version_remarks(snapshot)]
    more = tag("p", f"{older} older: loanloop models", class_="dim") if older else None
    rows = [_version(one, snapshot) for one in newest]
    return section("Versions", table("Versions", headers, rows), more, *remarks)


def _version(version: ModelVersion, snapshot: Snapshot) -> list[str]:
    gate, live = version.gate, snapshot.live
    verdict = tag("span", "judging", class_="dim")
    if gate:
        verdict = tag("span", "passed" if gate.passed else "rejected", class_="good" if gate.passed else "bad")
    lives = [one for one in snapshot.deployments if one.version == version.version]
    named = joined(
        version.version, tag("span", " live", class_="good") if live and live.version == version.version else None
    )
    months = f"{month_of(version.train_from)} – {month_of(version.train_to)}"
    f1, auc = figure(gate.f1 if gate else None), figure(gate.roc_auc if gate else None)
    words = lived_words(lives, snapshot.taken_at).split()
    lived = Markup(" ").join(tag("span", word, class_="whole") for word in words)
    return [named, verdict, f1, auc, f"{version.n_rows:,}", months, Markup(lived or "–")]


def _training(snapshot: Snapshot, _: Rates) -> Markup:
    run, progress = snapshot.training, None
    if run is None:
        words = f"None yet: {first_labels_words(snapshot)}."
        progress = (snapshot.loans.mature, snapshot.rule.first_labels)
    else:
        words = training_words(run)
        done, wanted = run.progress.get("epoch"), run.progress.get("epochs")
        progress = (done, wanted) if run.is_open and done is not None and wanted else None
    bar = tag("progress", value=progress[0], max=progress[1], aria_label="Training") if progress else None
    return section("Training", tag("p", words, class_="warn" if run and run.state == "failed" else None), bar)


def _scores(snapshot: Snapshot, _: Rates) -> Markup:
    if not snapshot.decisions:
        return section("Newest decisions", tag("p", "No loan is decided yet.", class_="dim"))
    rows = [
        [
            one.loan_id,
            tag("span", one.decision, class_="good" if one.decision == "approve" else "bad"),
            f"{one.probability:.3f}",
            one.version,
            joined(
                moment(one.decided_at, snapshot.taken_at),
                " ",
                tag("span", "REST" if one.channel == "rest" else one.channel, class_="dim"),
            ),
        ]
        for one in snapshot.decisions
    ]
    return section(
        "Newest decisions", table("Newest decisions", ["loan", "decision", ">P(default)", "by", "UTC"], rows)
    )


def _alerts(snapshot: Snapshot, _: Rates) -> Markup:
    lines = [_alert(one, snapshot.taken_at) for one in snapshot.alerts[:SHOWN_ALERTS]]
    return section("Alerts", tag("ul", *lines, class_="alerts") if lines else tag("p", "None.", class_="dim"))


def _alert(alert: Alert, now: datetime) -> Markup:
    kind = {"info": "dim", "warning": "warn", "critical": "bad"}[alert.severity]
    raised = tag("time", moment(alert.raised_at, now), datetime=alert.raised_at.isoformat())
    return tag("li", raised, " ", tag("b", alert.kind, class_=kind), f" {alert.message}")


def _where(snapshot: Snapshot, _: Rates) -> Markup:
    where = snapshot.where
    named = {"REST": where.rest and f"{where.rest}/docs", "Kafka": where.kafka, "PostgreSQL": where.postgres}
    lines = [tag("div", tag("dt", name), tag("dd", address)) for name, address in named.items() if address]
    return section("Where", tag("dl", *lines, class_="where"))


SECTIONS: dict[str, Callable[[Snapshot, Rates], Markup]] = {
    "head": _head,
    "loop": loop_section,
    "metric": _metric,
    "versions": _versions,
    "training": _training,
    "scores": _scores,
    "alerts": _alerts,
    "where": _where,
}
