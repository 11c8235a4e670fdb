"""The part of the page that shows the services and what has become of the loans."""

from collections.abc import Iterator

from loanloop.observe.loan_counts import LoanCounts
from loanloop.observe.rates import Rates
from loanloop.observe.snapshot import Instance, Snapshot
from loanloop.observe.view import state_of
from loanloop.observe.words import counts_remarks
from loanloop.page.markup import Markup, kind_of, section, spaced, tag

DOES = {
    "ingest": "checks loans and outcomes and stores them",
    "predictor": "decides loans, from Kafka and by REST",
    "trainer": "trains a challenger on enough new labels or a breach",
    "evaluator": "judges challengers, watches the champion",
}


def loop_section(snapshot: Snapshot, rates: Rates) -> Markup:
    cards = [tag("li", *_card(name, snapshot, rates)) for name in DOES]
    return section("The loop", tag("ol", *cards, class_="loop"), *_counts(snapshot))


def _card(service: str, snapshot: Snapshot, rates: Rates) -> Iterator[Markup]:
    yield tag("h3", service)
    running = [instance for instance in snapshot.instances if instance.service == service]
    yield tag("p", DOES[service])
    for instance in running:
        yield _state(instance, snapshot)
    if not running:
        yield tag("p", "not seen", class_="bad")
    waiting = [
        tag("li", f"{lag.topic}: ", tag("b", f"{lag.waiting:,}"), f" waiting, {rates.of(lag):,.0f}/s")
        for lag in snapshot.lags
        if lag.group == service and not lag.topic.endswith(".dlq")
    ]
    if waiting:
        yield tag("ul", *waiting)


def _state(instance: Instance, snapshot: Snapshot) -> Markup:
    state = state_of(instance, snapshot)
    kind = kind_of(str(state.style))
    named = f"{instance.instance_id}: " if instance.instance_id != instance.service else ""
    return tag("p", named, state.plain, f", {instance.version}" if instance.version else None, class_=kind)


def _counts(snapshot: Snapshot) -> Iterator[Markup]:
    loans = snapshot.loans
    received = "? (Kafka is away)" if loans.received is None else f"{loans.received:,}"
    counts = {"received": received} | {
        name: f"{getattr(loans, name):,}" for name in ("stored", "decided", "labelled", "rejected", "duplicates")
    }
    yield tag("dl", *(tag("div", tag("dt", name), tag("dd", n)) for name, n in counts.items()), class_="counts")
    if snapshot.rejected_by_reason:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in snapshot.rejected_by_reason.items())
        yield tag("p", f"Rejected: {reasons} (loanloop dlq list)", class_="warn")
    yield tag("p", spaced(*_fewer(loans)), class_="dim")


def _fewer(loans: LoanCounts) -> Iterator[str]:
    yield f"history {loans.history:,}"
    yield f"scored {loans.scored:,}"
    yield f"outcomes waiting for their loan {loans.waiting_outcomes:,}"
    yield from counts_remarks(loans)
