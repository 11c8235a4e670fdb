"""Where the demo is seen: a live panel under its sentences on a terminal, plain lines elsewhere."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from loanloop.demo.chronicle import metric_words
from loanloop.observe.chart import chart
from loanloop.observe.snapshot import Snapshot
from loanloop.observe.view import metric_title
from loanloop.observe.words import day_of, progress_words

CHART_HEIGHT = 9
PLAIN_EVERY_S = 5.0
PLAIN_UNCHANGED_EVERY_S = 20.0
STYLES = {"BREACH": "bold red", "ALERT": "yellow", "audit WARNING": "yellow", "evaluator": "cyan"}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What goes on right now. `event_time` is None before the replay."""

    doing: str
    snapshot: Snapshot | None = None
    event_time: datetime | None = None
    why: str = ""
    rest_sent: int = 0
    rest_failed: int = 0


class Stage(Protocol):
    def tell(self, line: str) -> None: ...
    def show(self, scene: Scene) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


def scene_words(scene: Scene) -> list[str]:
    """The scene in a few lines, without the chart."""
    lines = [scene.doing + (f" · {scene.why}" if scene.why else "")]
    snapshot = scene.snapshot
    if snapshot is None:
        return lines
    loans = snapshot.loans
    if snapshot.training is not None and snapshot.training.state == "running":
        lines.append(f"training: {progress_words(snapshot.training)}")
    if scene.event_time is None:
        lines.append(f"loans stored {loans.stored:,} · labelled {loans.labelled:,}")
        return lines
    waiting = sum(lag.waiting for lag in snapshot.lags if lag.topic.startswith("loan."))
    lines.append(
        f"loans of {day_of(scene.event_time)} · decided {loans.decided:,} · labelled {loans.labelled:,} · "
        f"waiting {waiting:,} · REST {scene.rest_sent:,} sent, {scene.rest_failed} failed"
    )
    lines.append(metric_words(snapshot.rule, snapshot))
    return lines


class LiveStage:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._live = Live(console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def tell(self, line: str) -> None:
        self._console.print(stamped(line, time.monotonic() - self._started))

    def show(self, scene: Scene) -> None:
        self._live.update(self._panel(scene))

    def _panel(self, scene: Scene) -> RenderableType:
        parts: list[RenderableType] = [Text(line) for line in scene_words(scene)]
        snapshot = scene.snapshot
        if snapshot is not None and scene.event_time is not None:
            width = self._console.width - 4
            drawn = chart(
                snapshot.rule,
                snapshot.days,
                snapshot.deployments,
                snapshot.breaches,
                width=width,
                height=min(CHART_HEIGHT, max(self._console.height - 12, 5)),
            )
            parts += [metric_title(snapshot), drawn]
        return Panel(Group(*parts), border_style="dim")


class LineStage:
    """Every sentence at once, the scene every few seconds: readable in the log of a CI run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._shown_at = 0.0
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def tell(self, line: str) -> None:
        elapsed = time.monotonic() - self._started
        self._console.print(f"{elapsed:6.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)

    def show(self, scene: Scene) -> None:
        now, words = time.monotonic(), " | ".join(scene_words(scene))
        every_s = PLAIN_EVERY_S if words != self._shown else PLAIN_UNCHANGED_EVERY_S
        if now - self._shown_at >= every_s:
            self._shown_at, self._shown = now, words
            self.tell("  " + words)


def stamped(line: str, elapsed_s: float) -> Text:
    style = next((style for start, style in STYLES.items() if line.startswith(start)), "")
    return Text.assemble((f"{elapsed_s:6.1f} s  ", "dim"), (line, style))


def make_stage(console: Console) -> Stage:
    return LiveStage(console) if console.is_terminal else LineStage(console)
