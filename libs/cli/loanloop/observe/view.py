"""A Snapshot as tables, wide enough for a terminal of 80 columns: what `loanloop status` prints."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from loanloop.observe.chart import chart
from loanloop.observe.loan_counts import LoanCounts
from loanloop.observe.snapshot import Instance, Snapshot
from loanloop.observe.words import (
    clock_words,
    counts_remarks,
    duration,
    figure,
    first_labels_words,
    live_words,
    lived_words,
    moment,
    month_of,
    named_with_login,
    training_words,
)

REMARKED_VERSIONS = 3
SEVERITY_STYLES = {"info": "cyan", "warning": "yellow", "critical": "bold red"}


def status_view(snapshot: Snapshot, *, width: int) -> RenderableType:
    return Group(
        headline(snapshot),
        Text(),
        services_table(snapshot),
        *_waiting_lines(snapshot),
        Text(),
        loans_line(snapshot.loans),
        *_rejected_lines(snapshot),
        lag_table(snapshot),
        Text(),
        versions_table(snapshot) if snapshot.versions else Text("versions: none yet"),
        *version_remarks(snapshot),
        training_line(snapshot),
        Text(),
        metric_title(snapshot),
        chart(snapshot.rule, snapshot.days, snapshot.deployments, snapshot.breaches, width=width, height=9),
        breach_line(snapshot),
        *alert_lines(snapshot, at_most=5),
        Text(),
        *_where_lines(snapshot),
    )


def headline(snapshot: Snapshot) -> Text:
    live = snapshot.live
    line = Text.assemble((f"loanloop · {snapshot.rule.portfolio}", "bold"), " · ")
    line.append(live_words(live, snapshot.taken_at) if live else "no model is live yet", "cyan" if live else "yellow")
    if clocks := clock_words(snapshot):
        line.append(f" · event time: {', '.join(clocks)}", "dim")
    return line


def services_table(snapshot: Snapshot) -> Table:
    table = _table("service", "state", "version", "applied", "where")
    for instance in snapshot.instances:
        applied = "" if instance.deployment_seq is None else f"deployment {instance.deployment_seq}"
        table.add_row(
            instance.service, state_of(instance, snapshot), instance.version or "", applied, instance.url or ""
        )
    if not snapshot.instances:
        table.add_row("none seen", "", "", "", "")
    return table


def state_of(instance: Instance, snapshot: Snapshot) -> Text:
    if not instance.is_alive:
        return Text(f"away for {duration(instance.age_s)}", "red")
    if waits_for_a_model(instance, snapshot):
        return Text("waits for a model", "cyan")
    troubled = ", ".join(f"{name} {state}" for name, state in instance.troubled.items())
    return Text(troubled, "yellow") if troubled else Text("up", "green")


def waits_for_a_model(instance: Instance, snapshot: Snapshot) -> bool:
    """Nothing is amiss with a predictor that leaves the loans in Kafka before it can decide any."""
    return snapshot.live is None and instance.is_alive and instance.troubled == {"loans": "waiting"}


def _waiting_lines(snapshot: Snapshot) -> Iterator[Text]:
    if any(waits_for_a_model(instance, snapshot) for instance in snapshot.instances):
        yield Text("Loans that are to be decided wait in Kafka until the first model is live.", "cyan")


def loans_line(loans: LoanCounts) -> Text:
    received = "? (Kafka is away)" if loans.received is None else f"{loans.received:,}"
    return Text(
        f"loans received {received} · stored {loans.stored:,} · rejected {loans.rejected:,} · "
        f"duplicates {loans.duplicates:,}"
        + "".join(f"\n{remark}" for remark in counts_remarks(loans))
        + f"\nhistory {loans.history:,} · scored {loans.scored:,} · decided {loans.decided:,}"
        f"\nlabelled {loans.labelled:,} · outcomes waiting for their loan {loans.waiting_outcomes:,}"
    )


def _rejected_lines(snapshot: Snapshot) -> Iterator[Text]:
    if snapshot.rejected_by_reason:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in snapshot.rejected_by_reason.items())
        yield Text(f"rejected loans and outcomes: {reasons} (loanloop dlq list)", "yellow")


def lag_table(snapshot: Snapshot) -> RenderableType:
    if snapshot.kafka_problem:
        return Text(snapshot.kafka_problem, "red")
    table = _table("topic", "group", ">messages", ">waiting")
    for lag in snapshot.lags:
        table.add_row(lag.topic, lag.group, f"{lag.end:,}", Text(f"{lag.waiting:,}", "yellow" if lag.waiting else ""))
    return table


def versions_table(snapshot: Snapshot) -> Table:
    table = _table("", "loans from – to", ">loans", ">F1", ">AUC", "gate", "live from (loans of)")
    for version in snapshot.versions:
        gate = version.gate
        lives = [d for d in snapshot.deployments if d.version == version.version]
        table.add_row(
            Text(version.version, "bold cyan" if snapshot.live and snapshot.live.version == version.version else ""),
            f"{month_of(version.train_from)} – {month_of(version.train_to)}",
            f"{version.n_rows:,}",
            figure(gate.f1 if gate else None),
            figure(gate.roc_auc if gate else None),
            _verdict(gate.passed) if gate else Text("judging", "dim"),
            lived_words(lives, snapshot.taken_at),
        )
    return table


def version_remarks(snapshot: Snapshot) -> Iterator[Text]:
    """Of the newest versions: why one was rejected, and who made it live all the same."""
    for version in snapshot.versions[-REMARKED_VERSIONS:]:
        if version.gate is None or version.gate.passed:
            continue
        yield Text(f"{version.version} was rejected: {version.gate.reason}", "red")
        for live in snapshot.deployments:
            if live.version == version.version and live.kind == "promote":
                by = named_with_login(live.actor, live.login)
                yield Text(f"{version.version} was promoted against the gate by {by}: {live.reason}", "yellow")


def _verdict(passed: bool) -> Text:
    return Text("passed", "green") if passed else Text("rejected", "red")


def training_line(snapshot: Snapshot) -> Text:
    if snapshot.training is None:
        return Text(f"training: none yet ({first_labels_words(snapshot)})")
    words = training_words(snapshot.training)
    return Text(f"training: {words}", "yellow" if snapshot.training.is_open else "")


def metric_title(snapshot: Snapshot) -> Text:
    """Names the preset and, where the preset allows a leaking field, that field: every figure rests on them."""
    rule = snapshot.rule
    title = Text()
    if rule.warnings:  # first: what follows is cut on a narrow terminal
        title.append(f"LEAK: {', '.join(field for field, _ in rule.warnings)} · ", "yellow")
    title.append(f"preset {rule.portfolio}", "bold")
    title.append(f" · {rule.metric_name} of {rule.window_days} days by event time; ")
    return title.append(f"threshold {rule.threshold:g}")


def breach_line(snapshot: Snapshot) -> Text:
    breach = snapshot.open_breach
    if breach is None:
        return Text("no open breach", "green" if snapshot.live else "dim")
    return Text(
        f"breach of {breach.version} since {breach.opened_on}: {snapshot.rule.metric_name} {breach.value:.3f}, "
        f"upper bound {breach.upper:.3f}",
        "bold red",
    )


def alert_lines(snapshot: Snapshot, *, at_most: int) -> list[Text]:
    return [
        Text(
            f"alert {moment(alert.raised_at, snapshot.taken_at)} {alert.kind}: {alert.message}",
            SEVERITY_STYLES[alert.severity],
        )
        for alert in snapshot.alerts[:at_most]
    ]


def _where_lines(snapshot: Snapshot) -> Iterator[Text]:
    where = snapshot.where
    named = {"REST": where.rest and f"{where.rest}/docs", "page": where.page, "Kafka": where.kafka}
    for name, address in (named | {"PostgreSQL": where.postgres, "logs": where.logs}).items():
        if address:
            yield Text(f"{name:<11}{address}", "dim")


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in headers:
        table.add_column(header.removeprefix(">"), justify="right" if header.startswith(">") else "left")
    return table
