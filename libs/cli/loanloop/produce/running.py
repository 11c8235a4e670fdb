"""Runs one `loanloop produce`: its progress and its refusals on the screen, its end by itself or by a signal."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from loanloop_common.errors import LoanloopError
from loanloop_common.events import Topic
from loanloop_common.kafka import make_broker, publish_batch, stop_broker
from loanloop_common.kafka.broker import admin_client
from loanloop_common.portfolio import Portfolio
from loanloop_common.settings import KafkaSettings
from loanloop_ingest.domain.file_events import FileMappingMissing, RowReader
from loanloop_ingest.loan_files import LoanFile, open_loan_file
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from loanloop.produce.bookmark import Bookmark, bookmark_in
from loanloop.produce.refusals import Refusals
from loanloop.produce.selection import Selection
from loanloop.produce.sender import Acknowledged, Sender
from loanloop.produce.sequence import EventSequence
from loanloop.telling import counted
from loanloop.topic_ids import fetch_topic_ids

STOPPED_BY_CTRL_C = 130


@dataclass(frozen=True)
class Destination:
    """Kafka and portfolio of the installation that gets the events; `state` keeps where a run was stopped."""

    kafka: KafkaSettings
    portfolio: Portfolio
    state: Path

    async def bookmark(self, file: Path, selection: Selection) -> Bookmark:
        """By the id of the topic: one that was made anew there has none of what was sent. Raises Unavailable."""
        async with admin_client(self.kafka) as admin:
            _, topic_ids = await fetch_topic_ids(admin)
        topic, portfolio = topic_ids.get(Topic.LOAN_RECEIVED, ""), self.portfolio.name
        return await asyncio.to_thread(bookmark_in, self.state, file, selection, topic_id=topic, portfolio=portfolio)


def validate_file(path: Path, portfolio: Portfolio, selection: Selection) -> int:
    """Reads everything, sends nothing; the exit code is 1 if a row would be refused."""
    console = Console(stderr=True)
    file, reader = _opened(path, portfolio, selection)
    refusals = Refusals(console, path)
    events = EventSequence(file, reader, selection, refusals)
    with _bar(console, events) as show:
        n_events = 0
        for n_events, _ in enumerate(events, start=1):
            if n_events % 5000 == 0:
                show(n_events)
    refusals.say_counts()
    what = f"loans {_inside(n_events, events.n_outcomes)}" if selection.history else "events"
    print(f"{path.name}: {n_events:,} {what} would be sent, {counted(refusals.n, 'row')} refused")
    _say_what_is_absent(events, refusals, portfolio)
    return 1 if refusals.n else 0


async def produce_file(
    path: Path, destination: Destination, selection: Selection, *, rate: float | None, restart: bool
) -> int:
    """Sends all, or up to Ctrl-C; the exit code, 1 if a row was refused."""
    console = Console(stderr=True)
    file, reader = _opened(path, destination.portfolio, selection)
    bookmark = await destination.bookmark(path, selection)
    done, selection = (Acknowledged(), selection) if restart else _where_it_was(bookmark, selection, console)
    refusals, n_before, started = Refusals(console, path), done.loans, time.monotonic()
    events = EventSequence(file, reader, selection, refusals)
    with _bar(console, events) as show:

        def acknowledged(so_far: Acknowledged) -> None:
            show(so_far.events)
            bookmark.keep(so_far, selection)

        stopped = await _send(events, destination.kafka, done, rate=rate, acknowledged=acknowledged)
    refusals.say_counts()
    outcomes = _inside(done.loans, done.with_outcome) if selection.history else f"and {done.outcomes:,} outcomes"
    said = f"{done.loans:,} loans {outcomes} sent, {counted(refusals.n, 'row')} refused"
    if stopped:
        print(f"Stopped at row {events.rows_read:,} of {file.n_rows:,}: {said}. The same command goes on there.")
        return STOPPED_BY_CTRL_C
    bookmark.remove()
    print(f"{path.name}: {said} ({(done.loans - n_before) / (time.monotonic() - started):,.0f} loans/s)")
    _say_what_is_absent(events, refusals, destination.portfolio)
    return 1 if refusals.n else 0


def _inside(n_loans: int, n_with_outcome: int) -> str:
    """What `--history` makes of so many loans: one without an outcome is a new loan to ingest and predictor."""
    if n_without := n_loans - n_with_outcome:
        return f"({n_with_outcome:,} with the outcome inside, {n_without:,} without, which will be decided)"
    return "with the outcomes inside"


def _where_it_was(bookmark: Bookmark, selection: Selection, console: Console) -> tuple[Acknowledged, Selection]:
    done, selection = bookmark.found(selection)
    if done.events:
        console.print(f"Going on behind {done.loans:,} loans and {done.outcomes:,} outcomes (--restart begins anew).")
    return done, selection


async def _send(
    events: EventSequence,
    kafka: KafkaSettings,
    done: Acknowledged,
    *,
    rate: float | None,
    acknowledged: Callable[[Acknowledged], None],
) -> bool:
    """Whether it was stopped by a signal."""
    broker = make_broker(kafka, service="produce")
    await broker.connect()
    stop = _stop_on_signals()
    try:
        await Sender(partial(publish_batch, broker), rate=rate, acknowledged=acknowledged).send(
            iter(events), done, stop
        )
    finally:
        await stop_broker(broker)
    return stop.is_set()


def _opened(path: Path, portfolio: Portfolio, selection: Selection) -> tuple[LoanFile, RowReader]:
    file, reader = open_loan_file(path), RowReader(portfolio)
    try:
        reader.check_columns(file.columns, outcomes=selection.wants_outcomes)
    except FileMappingMissing as missing:
        lacks_outcomes = portfolio.file.defaulted not in file.columns
        hint = " Applications alone, without outcomes, go with --outcomes none." if lacks_outcomes else ""
        raise LoanloopError(f"{path}: {missing}.{hint}") from missing
    return file, reader


def _say_what_is_absent(events: EventSequence, refusals: Refusals, portfolio: Portfolio) -> None:
    """Rows or outcomes, where there is none at all."""
    if not events.file.n_rows:
        refusals.console.print(f"{events.file.path.name} names its columns and has no rows.", style="yellow")
    if events.n_outcomes or not events.selection.wants_outcomes or events.rows_read <= refusals.n:
        return
    column = portfolio.file.defaulted
    why = (
        f"no row has one in {column} that is known by now (new applications have none yet)"
        if column
        else "[file] names no column as defaulted"
    )
    refusals.console.print(
        f"No outcome was among them: {why}.",
        markup=False,
        soft_wrap=True,
        style="yellow",
    )


def _stop_on_signals() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


@contextmanager
def _bar(console: Console, events: EventSequence) -> Iterator[Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    n_events = TextColumn("{task.fields[n_events]:,} events")
    with Progress(*columns, n_events, console=console, transient=True) as progress:
        task: TaskID = progress.add_task(f"rows of {events.file.path.name}", total=events.rows_to_read, n_events=0)
        yield lambda n_events: progress.update(task, completed=events.rows_read, n_events=n_events)
