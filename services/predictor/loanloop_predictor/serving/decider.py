"""The one scoring core behind stream and REST: score in a thread, store, and answer what is stored."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress
from uuid import UUID

from loanloop_common.bundle import are_probabilities
from loanloop_common.errors import EventConflict, InvalidMessage, LoanloopError
from loanloop_common.features import Floats
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.telemetry import observe_each, timed
from msgspec import structs

from loanloop_predictor.domain.deciding import decide
from loanloop_predictor.domain.decisions import (
    Channel,
    Decision,
    DecisionNotKept,
    NoProbability,
    StoredDecision,
    Undecided,
    conflicts,
    first_of_each_event,
    time_ordered_ids,
)
from loanloop_predictor.domain.incoming import IncomingLoan, LeavingLoan, StreamedLoans, hash_if_dated, read_streamed
from loanloop_predictor.serving.champion import Champion
from loanloop_predictor.serving.champions import Champions
from loanloop_predictor.serving.counted import count_decisions
from loanloop_predictor.serving.decided_here import DecidedHere
from loanloop_predictor.store.decisions import DecisionStore, Held, Recorded

Answer = StoredDecision | LoanloopError


@dataclass(frozen=True, slots=True)
class ScoredLoans:
    """Decisions on a batch of the stream that nobody knows of yet; `traceparents` of their loans, by event_id."""

    read: StreamedLoans
    decisions: list[Decision]
    undecided: Sequence[Undecided] = ()
    traceparents: Mapping[UUID, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoredRequests:
    """Decisions on loans that were asked for; nobody knows of them yet."""

    incoming: Sequence[IncomingLoan]
    decisions: list[Decision]
    undecided: Sequence[Undecided]


@dataclass(frozen=True, slots=True)
class StreamedDecisions:
    """`to_publish`: every decision of the batch that the stream has made, now or at an earlier delivery.

    `undecided`: what got no probability, and was not decided earlier.
    """

    to_publish: list[StoredDecision]
    undecided: list[Undecided]
    new: list[Decision]
    n_history: int
    n_invalid: int
    n_conflicts: int
    n_not_kept: int
    n_refused: int


class Decider:
    def __init__(self, codec: LoanCodec, champions: Champions, store: DecisionStore) -> None:
        self._codec = codec
        self._champions = champions
        self._store = store
        self._decided_here = DecidedHere()

    async def score_streamed(
        self, messages: Sequence[tuple[bytes | None, datetime]], traceparents_of: Callable[[], Mapping[int, str]]
    ) -> ScoredLoans:
        """Values, each with the moment that it arrived at. Changes nothing. Raises NoModel.

        `traceparents_of`: what came with them, by place; asked in the thread, since a traced batch takes milliseconds.
        """
        started = time.perf_counter()
        champion = self._champions.serving()
        return await asyncio.to_thread(self._read_and_decide, champion, messages, traceparents_of, started)

    async def record_streamed(self, scored: ScoredLoans) -> StreamedDecisions:
        """Raises Unavailable: then nothing is lost, and what is stored of the batch stays as it is."""
        with timed("loanloop_batch_step_duration_seconds", step="stream_store"):
            recorded = await self._store.record_streamed(scored.decisions)
        held = recorded.held
        held.update(await self._decided_earlier(scored.undecided, but=held))
        asked: list[Decision | Undecided] = [*scored.decisions, *scored.undecided]
        found = [one for one in asked if one.event_id in held]
        # Each once, in the order that they came in.
        agreeing = dict.fromkeys(m.event_id for m in found if not conflicts(held[m.event_id], m.payload_sha256))
        stored = [one for event_id in agreeing if isinstance(one := held[event_id], StoredDecision)]
        return StreamedDecisions(
            # What REST has decided leaves by the outbox.
            to_publish=[one for one in stored if one.decision.channel == "stream"],
            undecided=[one for one in scored.undecided if one.event_id not in held],
            new=[one.decision for one in stored if one.is_new],
            n_history=scored.read.n_history,
            n_invalid=scored.read.n_invalid,
            n_conflicts=sum(conflicts(held[m.event_id], m.payload_sha256) for m in found),
            n_not_kept=len(agreeing) - len(stored),
            n_refused=len(recorded.refused),
        )

    async def score_requested(self, incoming: Sequence[IncomingLoan]) -> ScoredRequests:
        """Changes nothing. Raises NoModel."""
        started = time.perf_counter()
        champion = self._champions.serving()
        decisions, undecided = await asyncio.to_thread(self._decide, champion, incoming, started, "rest")
        return ScoredRequests(incoming, decisions, undecided)

    async def record_requested(self, scored: ScoredRequests) -> list[Answer]:
        """An answer in each loan's place; one bad loan fails no other. Raises Unavailable for all."""
        incoming = scored.incoming
        events = self._events_of(scored)
        with timed("loanloop_batch_step_duration_seconds", step="rest_store"):
            recorded = await self._store.record_requested(scored.decisions, events)
        stored = (one for one in recorded.held.values() if isinstance(one, StoredDecision))
        new = [one.decision for one in stored if one.is_new]
        self._decided_here.remember(events[decision.event_id].payload for decision in new)
        count_decisions(new)
        recorded.held.update(await self._decided_earlier(scored.undecided, but=recorded.held))
        without = {one.event_id: NoProbability(one.version) for one in scored.undecided}
        known = recorded.held.keys() | recorded.refused
        return [
            self._answer(one, recorded) if one.loan.event_id in known else without[one.loan.event_id]
            for one in incoming
        ]

    def _events_of(self, scored: ScoredRequests) -> dict[UUID, LeavingLoan]:
        """What is decided, as it leaves: of two loans under one event_id the one that the decision is on."""
        asked = {(one.loan.event_id, one.payload_sha256): one for one in scored.incoming}
        made = ((d.event_id, asked[d.event_id, d.payload_sha256]) for d in first_of_each_event(scored.decisions))
        return {
            event_id: LeavingLoan(self._codec.encode(one.loan), one.traceparent, one.requested_by)
            for event_id, one in made
        }

    async def _decided_earlier(self, undecided: Sequence[Undecided], *, but: Mapping[UUID, Held]) -> dict[UUID, Held]:
        """A loan that gets no probability now may have been decided by another version, or under its event just now."""
        event_ids = [one.event_id for one in undecided if one.event_id not in but]
        return await self._store.fetch_held(event_ids) if event_ids else {}

    def _read_and_decide(
        self,
        champion: Champion,
        messages: Sequence[tuple[bytes | None, datetime]],
        traceparents_of: Callable[[], Mapping[int, str]],
        started: float,
    ) -> ScoredLoans:
        read = read_streamed(self._codec, messages, is_decided=self._decided_here.recognise)
        decisions, undecided = self._decide(champion, read.to_decide, started, "stream")
        placed = [structs.replace(one, place=read.places[one.place]) for one in undecided]
        return ScoredLoans(read, decisions, placed, read.by_event(traceparents_of()))

    def _decide(
        self, champion: Champion, incoming: Sequence[IncomingLoan], started: float, channel: Channel
    ) -> tuple[list[Decision], list[Undecided]]:
        if not incoming:
            return [], []
        probabilities = _probabilities(champion, incoming, channel)
        latency_ms = (time.perf_counter() - started) * 1000
        sound = are_probabilities(probabilities)
        undecided = [] if sound.all() else _undecided(incoming, sound.tolist(), champion.by.version)
        if undecided:
            incoming, probabilities = [*compress(incoming, sound.tolist())], probabilities[sound]
        decisions = decide(
            self._codec,
            incoming,
            probabilities.tolist(),
            champion.by,
            decision_ids=time_ordered_ids(int(time.time() * 1000), os.urandom(10 * len(incoming))),
            latency_ms=latency_ms,
            channel=channel,
        )
        return decisions, undecided

    def _answer(self, one: IncomingLoan, recorded: Recorded) -> Answer:
        event_id = one.loan.event_id
        if event_id in recorded.refused:
            return InvalidMessage(f"the database refuses this loan: {recorded.refused[event_id]}")
        held = recorded.held[event_id]
        if isinstance(held, DecisionNotKept):
            # Dated by us, it carries another date at each try: whether it is the same loan can't be told any more.
            differs = not one.dated_here and conflicts(held, one.payload_sha256)
        else:
            differs = conflicts(held, hash_if_dated(self._codec, one, held.decision.occurred_at))
        return EventConflict(str(event_id)) if differs else held


def _probabilities(champion: Champion, incoming: Sequence[IncomingLoan], channel: Channel) -> Floats:
    with timed("loanloop_batch_step_duration_seconds", step=f"{channel}_score"):
        probabilities = champion.probabilities(incoming)
    observe_each("loanloop_prediction_probability", probabilities)
    return probabilities


def _undecided(incoming: Sequence[IncomingLoan], sound: Sequence[bool], version: str) -> list[Undecided]:
    return [
        Undecided(one.loan.event_id, one.payload_sha256, version, place)
        for place, one in enumerate(incoming)
        if not sound[place]
    ]
