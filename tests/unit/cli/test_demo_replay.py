from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from loanloop.demo.pace import Pace
from loanloop.demo.replay import Replay
from loanloop_common.events import Topic
from loanloop_ingest.domain.file_events import FileEvent

START = datetime(2005, 1, 1, tzinfo=UTC)


def loans(n: int, *, per_day: int = 10) -> list[FileEvent]:
    return [
        FileEvent(Topic.LOAN_RECEIVED, b"key", f"loan {i}".encode(), START + timedelta(days=i // per_day))
        for i in range(n)
    ]


class Sink:
    def __init__(self) -> None:
        self.streamed: list[bytes] = []
        self.asked: list[bytes] = []

    async def publish(self, topic: Topic, messages: Sequence[tuple[bytes | None, bytes]]) -> None:
        self.streamed += [value for _, value in messages]

    async def ask(self, loan: bytes) -> None:
        self.asked.append(loan)


def replay_of(events: list[FileEvent], pace: Pace) -> tuple[Replay, Sink]:
    sink = Sink()
    replay = Replay(iter(events), sink.publish, sink.ask, clock=START, pace=pace)
    replay._ahead.extend(events)
    return replay, sink


def test_event_time_goes_no_faster_than_the_days_a_second() -> None:
    replay, _ = replay_of(loans(1000), Pace(events_per_s=1e6, days_per_s=20))

    sent = replay.due(0.5)

    assert len(sent) == 110  # days 0 to 10
    assert replay.clock == START + timedelta(days=10)


def test_events_go_no_faster_than_their_rate_and_event_time_waits_for_them() -> None:
    replay, _ = replay_of(loans(1000), Pace(events_per_s=10, days_per_s=20))

    sent = [event for _ in range(10) for event in replay.due(0.1)]

    assert len(sent) == 10
    assert replay.clock == START + timedelta(days=1)


async def test_every_loan_is_sent_once_by_stream_or_rest() -> None:
    events = loans(300)
    replay, sink = replay_of([], Pace(events_per_s=1e6, days_per_s=500))
    replay.events = iter(events)

    await replay.run()

    assert sorted(sink.streamed + sink.asked) == sorted(event.value for event in events)
    assert sink.asked
    assert (replay.replayed.streamed, replay.replayed.asked) == (len(sink.streamed), len(sink.asked))


async def test_at_most_every_second_loan_goes_to_rest() -> None:
    replay, sink = replay_of([], Pace(events_per_s=1e6, days_per_s=500))
    replay._rest_budget.available = 1000

    await replay._send(loans(10))

    assert (len(sink.streamed), len(sink.asked)) == (5, 5)


async def test_replay_that_ends_early_still_sends_the_outcomes_of_what_it_sent() -> None:
    received = loans(40)
    outcomes = [FileEvent(Topic.LOAN_OUTCOME, e.key, b"outcome", e.due_at + timedelta(days=30)) for e in received]
    events = [event._replace(key=event.value) for event in received]
    events += [outcome._replace(key=loan.key) for outcome, loan in zip(outcomes, events, strict=True)]
    replay, sink = replay_of([], Pace(events_per_s=1e6, days_per_s=1e4))
    replay._ahead.extend(sorted(events, key=lambda event: event.due_at))

    await replay._send(replay.due(0.0001))
    replay.accepting = False
    await replay.run()

    assert replay.replayed.loans == 20  # days 0 and 1
    assert replay.replayed.outcomes == 20
    assert sink.streamed.count(b"outcome") == 20
