"""Runs one `loanloop produce`: where it sends to, its progress on the screen, where it goes on after a stop."""

import asyncio
import hashlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from loanloop_common.kafka import make_broker, publish_batch, stop_broker
from loanloop_common.portfolio import Portfolio
from loanloop_common.settings import KafkaSettings
from loanloop_ingest.domain.file_events import RefusedRow, RowReader
from loanloop_ingest.loan_files import LoanFile, file_sha256, open_loan_file, place_in
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from loanloop.production import EventSequence, Selection, Sender, Sent
from loanloop.runtime.data_directory import write_private

STOPPED_BY_CTRL_C = 130
_REFUSALS_SHOWN = 20


@dataclass(frozen=True)
class Destination:
    """Kafka and portfolio of the installation that gets the events; `state` keeps where a run was stopped."""

    kafka: KafkaSettings
    portfolio: Portfolio
    state: Path


@dataclass
class Refusals:
    """Says the first refused rows, and counts them all."""

    console: Console
    file: Path
    n: int = 0

    def __call__(self, row: RefusedRow) -> None:
        self.n += 1
        if self.n <= _REFUSALS_SHOWN:
            named = f"{row.field} = {row.value}: {row.rule}" if row.field else row.rule
            self.console.print(
                f"{self.file.name}, {place_in(self.file, row.number)}: {named}",
                markup=False,
                soft_wrap=True,
                style="yellow",
            )
        elif self.n == _REFUSALS_SHOWN + 1:
            self.console.print("further refused rows are only counted", style="yellow")


def validate_file(path: Path, portfolio: Portfolio, selection: Selection) -> int:
    """Reads everything, sends nothing; the exit code is 1 if a row would be refused."""
    console = Console(stderr=True)
    file, reader = _opened(path, portfolio)
    refusals = Refusals(console, path)
    events = EventSequence(file, reader, selection, refusals)
    with _bar(console, events) as show:
        n_events = 0
        for n_events, _ in enumerate(events, start=1):
            if n_events % 5000 == 0:
                show(n_events)
    print(f"{path.name}: {n_events:,} events would be sent, {refusals.n:,} rows refused")
    return 1 if refusals.n else 0


async def produce_file(
    path: Path, destination: Destination, selection: Selection, *, rate: float | None, restart: bool
) -> int:
    """Sends all, or up to Ctrl-C; the exit code, 1 if a row was refused."""
    console = Console(stderr=True)
    file, reader = _opened(path, destination.portfolio)
    bookmark = await asyncio.to_thread(_bookmark, file, destination, selection)
    sent, selection = (Sent(), selection) if restart else bookmark.found(selection)
    if sent.events:
        console.print(f"Going on behind {sent.loans:,} loans and {sent.outcomes:,} outcomes (--restart begins anew).")
    refusals, n_before, started = Refusals(console, path), sent.loans, time.monotonic()
    events = EventSequence(file, reader, selection, refusals)
    with _bar(console, events) as show:

        def acknowledged(so_far: Sent) -> None:
            show(so_far.events)
            bookmark.keep(so_far, selection)

        stopped = await _send(events, destination.kafka, sent, rate=rate, acknowledged=acknowledged)
    said = f"{sent.loans:,} loans and {sent.outcomes:,} outcomes sent, {refusals.n:,} rows refused"
    if stopped:
        print(f"Stopped at row {events.rows_read:,} of {file.n_rows:,}: {said}. The same command goes on there.")
        return STOPPED_BY_CTRL_C
    bookmark.remove()
    print(f"{path.name}: {said} ({(sent.loans - n_before) / (time.monotonic() - started):,.0f} loans/s)")
    return 1 if refusals.n else 0


async def _send(
    events: EventSequence,
    kafka: KafkaSettings,
    sent: Sent,
    *,
    rate: float | None,
    acknowledged: Callable[[Sent], None],
) -> bool:
    """Whether it was stopped by a signal."""
    broker = make_broker(kafka, service="produce")
    await broker.connect()
    stop = _stop_on_signals()
    try:
        await Sender(partial(publish_batch, broker), rate=rate, acknowledged=acknowledged).send(
            iter(events), sent, stop
        )
    finally:
        await stop_broker(broker)
    return stop.is_set()


def _opened(path: Path, portfolio: Portfolio) -> tuple[LoanFile, RowReader]:
    file, reader = open_loan_file(path), RowReader(portfolio)
    reader.check_columns(file.columns)
    return file, reader


@dataclass
class Bookmark:
    """A file of its own for each content, destination and choice of rows."""

    path: Path
    told: dict[str, Any] = field(default_factory=dict)

    def found(self, selection: Selection) -> tuple[Sent, Selection]:
        """Where to go on, with the `now` of the first run: the events must be the same."""
        try:
            kept = json.loads(self.path.read_text())
        except FileNotFoundError:
            return Sent(), selection
        return Sent(**kept["sent"]), replace(selection, now=datetime.fromisoformat(kept["now"]))

    def keep(self, sent: Sent, selection: Selection) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {**self.told, "sent": asdict(sent), "now": selection.now.isoformat()}
        write_private(self.path, json.dumps(kept, indent=2))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _bookmark(file: LoanFile, destination: Destination, selection: Selection) -> Bookmark:
    told = {
        "file_sha256": file_sha256(file.path).hex(),
        "kafka": destination.kafka.bootstrap_servers,
        "portfolio": destination.portfolio.name,
        **{name: str(value) for name, value in asdict(selection).items() if name != "now"},
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    return Bookmark(destination.state / f"{digest}.json", told | {"file": str(file.path)})


def _stop_on_signals() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


@contextmanager
def _bar(console: Console, events: EventSequence) -> Iterator[Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    counted = TextColumn("{task.fields[n_events]:,} events")
    with Progress(*columns, counted, console=console, transient=True) as progress:
        task: TaskID = progress.add_task(f"rows of {events.file.path.name}", total=events.rows_to_read, n_events=0)
        yield lambda n_events: progress.update(task, completed=events.rows_read, n_events=n_events)
