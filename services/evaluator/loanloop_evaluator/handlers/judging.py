"""Judges challengers, and deploys those that pass."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import structlog
from loanloop_common.errors import BundleCorrupt, Unavailable
from loanloop_common.telemetry import observe
from loanloop_common.tracing import begin_span

from loanloop_evaluator.domain.deployment import Candidate, Live, seq_of, to_judge
from loanloop_evaluator.domain.gate import GateRule, Judged, Verdict, judged, verdict_on, window_begins_after
from loanloop_evaluator.domain.ports import LoanScorer
from loanloop_evaluator.domain.scored import Confusion
from loanloop_evaluator.handlers.contender import Contender
from loanloop_evaluator.store.deployments import StoredBundle
from loanloop_evaluator.store.gate import GateStore, Recorded
from loanloop_evaluator.store.gate_window import GateWindow
from loanloop_evaluator.store.verdicts import Judgement

log = structlog.get_logger()


@dataclass(slots=True)
class SeenLoans:
    defaulted: list[bool] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None

    def add(self, loans: Sequence[Any]) -> None:
        self.defaulted += [loan["defaulted"] for loan in loans]
        self.first = self.first or loans[0]["occurred_at"]
        self.last = loans[-1]["occurred_at"]


class Judge:
    """`waiting` says what each version without a verdict waits for."""

    def __init__(self, store: GateStore, rule: GateRule, load: Callable[[StoredBundle], LoanScorer]) -> None:
        self._store = store
        self._rule = rule
        self._load = load
        self._loaded: dict[str, Contender] = {}
        self.waiting: dict[str, str] = {}

    async def look(self) -> bool:
        """Judges one version, if one can be judged; True: look again at once.

        Raises Unavailable where a model can't be scored for now; the next look tries it again.
        """
        candidates, live = await self._store.fetch_candidates()
        due = to_judge(candidates, live)
        self._forget_all_but({c.version for c in due} | ({live.version} if live and due else set()))
        passing: Unavailable | None = None
        for candidate in due:
            try:
                judged_now = await self._judge(candidate, live)
            except Unavailable as error:
                passing = error
            else:
                if judged_now:
                    self._forget_all_but(set(self._loaded) - {candidate.version})
                    return True
        if passing:
            raise passing
        return False

    async def _judge(self, candidate: Candidate, live: Live | None) -> bool:
        """False: it has to wait, for more loans or for a champion to compare it with."""
        begun, evaluation = time.monotonic(), begin_span("evaluation", {"version": candidate.version})
        try:
            with evaluation.current():
                judgement = await self._judgement_of(candidate, live)
                if judgement is None:
                    return False
                recorded = await self._store.record(judgement)
        except BundleCorrupt as champion:  # its alert hangs on no evaluation: there is none
            await self._hold(candidate.version, live, champion)
            return False
        evaluation.note(result=judgement.result)
        evaluation.end()
        if recorded.outcome == "written":
            observe("loanloop_run_duration_seconds", time.monotonic() - begun, kind="evaluate", result=judgement.result)
        _tell(judgement, recorded)
        return True

    async def _judgement_of(self, candidate: Candidate, live: Live | None) -> Judgement | None:
        """None where it has to wait. Raises BundleCorrupt, of the champion."""
        try:
            return await self._judgement(candidate.version, live)
        except BundleCorrupt as corrupt:
            if corrupt.version != candidate.version:
                raise
            return await self._refusal(candidate.version, live, str(corrupt))

    async def _contender(self, version: str) -> Contender:
        """Loaded once while it waits. Raises BundleCorrupt."""
        if version not in self._loaded:
            bundle = await self._store.fetch_bundle(version)
            self._loaded[version] = Contender(bundle, await asyncio.to_thread(self._load, bundle))
        return self._loaded[version]

    async def _hold(self, challenger: str, live: Live | None, champion: BundleCorrupt) -> None:
        """Nothing shows that the challenger is not worse, so that only an operator may make it live.

        The live file is read again at each look: a mended one ends the wait.
        """
        assert live is not None
        reason = f"{live.version} is live and can't be read: {champion.reason}"
        self.waiting[challenger] = f"a champion to compare with; {reason}"
        if await self._store.alert_of_unreadable_champion(live, challenger, reason):
            log.error("champion_unreadable", version=live.version, reason=champion.reason, challenger=challenger)

    async def _judgement(self, version: str, live: Live | None) -> Judgement | None:
        """None: too few loans yet. Raises BundleCorrupt, of the challenger or of the champion."""
        challenger = await self._contender(version)
        champion = await self._contender(live.version) if live else None
        as_of = await self._store.fetch_as_of()
        after = window_begins_after(challenger.bundle.train_to, champion.bundle.train_to if champion else None)
        n_loans = 0 if as_of is None else await self._store.count_loans(as_of, after)
        if as_of is None or n_loans < self._rule.min_loans:
            self._wait(challenger.bundle.version, n_loans, after)
            return None
        async with self._store.frozen_window(as_of, after) as window:
            seen = await self._score(window, [c for c in (challenger, champion) if c])
        return await asyncio.to_thread(self._concluded, challenger, champion, live, seen, as_of)

    async def _score(self, window: GateWindow, contenders: list[Contender]) -> SeenLoans:
        seen = SeenLoans()
        for contender in contenders:
            contender.batches.clear()
        async for loans in window.loans():
            seen.add(loans)
            features = [loan["features"] for loan in loans]
            for contender in contenders:
                await asyncio.to_thread(contender.score, features)
        return seen

    def _concluded(
        self, challenger: Contender, champion: Contender | None, live: Live | None, seen: SeenLoans, as_of: datetime
    ) -> Judgement:
        defaulted = np.array(seen.defaulted, dtype=np.bool_)
        seed = int.from_bytes(challenger.bundle.sha256[:8])
        ours, theirs = (
            judged(c.bundle.version, c.scored(defaulted), self._rule, seed) if c else None
            for c in (challenger, champion)
        )
        if ours is None or seen.first is None or seen.last is None:
            raise ValueError("a window without loans was judged")
        return Judgement(
            challenger=ours,
            champion=theirs,
            opponent=live.version if live else None,
            judged_seq=seq_of(live),
            verdict=verdict_on(ours, theirs, self._rule),
            window_from=seen.first,
            window_to=seen.last,
            as_of=as_of,
        )

    async def _refusal(self, version: str, live: Live | None, reason: str) -> Judgement:
        """A verdict as well, so that a file that can't be read is looked at once, and said once."""
        bundle = await self._store.fetch_bundle(version)
        return Judgement(
            challenger=Judged(version, Confusion(), {"metric": self._rule.metric}, value=None, bounds=None),
            champion=None,
            opponent=live.version if live else None,
            judged_seq=seq_of(live),
            verdict=Verdict(False, reason),
            window_from=bundle.train_to,
            window_to=bundle.train_to,
            as_of=await self._store.fetch_as_of(),
            refused=True,
        )

    def _wait(self, version: str, n_loans: int, after: datetime) -> None:
        if version not in self.waiting:
            log.info("challenger_waits", version=version, n_loans=n_loans, needed=self._rule.min_loans, after=after)
        self.waiting[version] = f"{n_loans} of {self._rule.min_loans} labelled loans after {after:%Y-%m-%d}"

    def _forget_all_but(self, versions: set[str]) -> None:
        for version in set(self._loaded) - versions:
            self._loaded.pop(version).scorer.close()
        self.waiting = {v: why for v, why in self.waiting.items() if v in versions}


def _tell(judgement: Judgement, recorded: Recorded) -> None:
    log.info(
        "challenger_judged",
        version=judgement.challenger.version,
        opponent=judgement.opponent,
        passed=judgement.verdict.passed,
        reason=judgement.verdict.reason,
        outcome=recorded.outcome,
        deployment_seq=recorded.deployed.deployment_seq if recorded.deployed else None,
    )
