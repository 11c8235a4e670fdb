"""The live view of `loanloop watch`: one screen, from 80×24 up, of the newest Snapshot."""

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loanloop.observe.chart import chart
from loanloop.observe.rates import Rates
from loanloop.observe.snapshot import Snapshot
from loanloop.observe.view import alert_lines, breach_line, headline, metric_title, state_of, training_line
from loanloop.observe.words import clock, day_of, gate_figure_words

FOOTER = "q quits · loanloop status --json has it all"
SIDE_HEIGHT = 8


def screen(snapshot: Snapshot | None, rates: Rates, problem: str | None, *, width: int, height: int) -> RenderableType:
    """With a problem and an earlier snapshot: both, so that what was known stays readable."""
    if snapshot is None:
        message = problem or "looking for the installation …"
        return Panel(Text(message, "red" if problem else "dim"), title="loanloop watch", subtitle=FOOTER)
    top, bottom = _top(snapshot, problem), _bottom(snapshot)
    chart_height = max(height - len(top) - SIDE_HEIGHT - len(bottom) - 2, 4)
    layout = Layout()
    layout.split_column(
        Layout(_cut(top), size=len(top)),
        Layout(_middle(snapshot, rates), size=SIDE_HEIGHT),
        Layout(_chart_part(snapshot, width, chart_height), size=chart_height + 1),
        Layout(_cut(bottom)),
    )
    return layout


def _top(snapshot: Snapshot, problem: str | None) -> list[Text]:
    lines = [headline(snapshot)]
    if problem:
        lines.append(Text(f"{problem}; what follows is of {clock(snapshot.taken_at)} UTC", "bold red"))
    return lines


def _middle(snapshot: Snapshot, rates: Rates) -> RenderableType:
    halves = Table.grid(expand=True)
    halves.add_column(ratio=5)
    halves.add_column(ratio=7)
    halves.add_row(
        Panel(_services(snapshot), title="services", title_align="left", padding=(0, 1), height=SIDE_HEIGHT),
        Panel(_topics(snapshot, rates), title="topics", title_align="left", padding=(0, 1), height=SIDE_HEIGHT),
    )
    return halves


def _services(snapshot: Snapshot) -> RenderableType:
    lines = []
    for instance in snapshot.instances:
        version = Text(f"{instance.version} " if instance.version else "", "cyan")
        lines.append(Text.assemble(f"{instance.service:<10}", version, state_of(instance, snapshot)))
    loans = snapshot.loans
    return _cut([*lines, Text(f"stored {loans.stored:,} · decided {loans.decided:,}")])


def _topics(snapshot: Snapshot, rates: Rates) -> RenderableType:
    if snapshot.kafka_problem:
        return Text(snapshot.kafka_problem, "red")
    table = Table.grid(padding=(0, 1))
    for justify in ("left", "right", "right", "right"):
        table.add_column(justify=justify, no_wrap=True)
    table.add_row(*(Text(name, "dim") for name in ("topic → group", "sent", "lag", "/s")))
    busiest = sorted(snapshot.lags, key=lambda lag: -lag.end)[: SIDE_HEIGHT - 3]
    for lag in sorted(busiest, key=lambda lag: (lag.topic, lag.group)):
        waiting = Text(f"{lag.waiting:,}", "yellow" if lag.waiting else "")
        table.add_row(f"{lag.topic}→{lag.group}", f"{lag.end:,}", waiting, f"{rates.of(lag):,.0f}")
    return table


def _chart_part(snapshot: Snapshot, width: int, height: int) -> RenderableType:
    title = metric_title(snapshot)
    title.no_wrap, title.overflow = True, "ellipsis"
    drawn = chart(snapshot.rule, snapshot.days, snapshot.deployments, snapshot.breaches, width=width, height=height)
    return Group(title, drawn)


def _bottom(snapshot: Snapshot) -> list[Text]:
    lines = [training_line(snapshot), _versions(snapshot), breach_line(snapshot), *alert_lines(snapshot, at_most=2)]
    return [*lines, Text(f"{clock(snapshot.taken_at)} UTC · {FOOTER}", "dim")]


def _versions(snapshot: Snapshot) -> Text:
    line = Text("versions: ")
    for version in snapshot.versions[-4:]:
        gate = version.gate
        line.append(version.version, "bold cyan" if snapshot.live and snapshot.live.version == version.version else "")
        verdict = "judging" if gate is None else "passed" if gate.passed else "rejected"
        figure = gate_figure_words(gate, snapshot.rule)
        line.append(f" to {day_of(version.train_to)} {figure} {verdict}   ")
    return line if snapshot.versions else Text("versions: none yet", "dim")


def _cut(lines: list[Text]) -> RenderableType:
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)
