"""Records days as they close, recomputes days whose labels came late, opens and closes breaches."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog
from loanloop_common.postgres import Connection

from loanloop_evaluator.domain.breach import BreachRule, Turn, reason_of, turns_of
from loanloop_evaluator.domain.clock import days_between, last_closed_day
from loanloop_evaluator.domain.rolling import DailyRow, RollingRule, WindowValue, daily_rows, decided_outcomes
from loanloop_evaluator.store.breaches import announce_turn, has_open_breach, open_breach, recover_breach
from loanloop_evaluator.store.deployments import fetch_live, lock_slot
from loanloop_evaluator.store.rolling import DecidedRow, Reign, RollingStore
from loanloop_evaluator.store.touched_days import Signature, fetch_touched_days

log = structlog.get_logger()

# A transaction that began before the last look may have committed after it; ingest gives one 60 s.
OVERLAP = timedelta(seconds=90)
DAYS_AT_ONCE = 60


@dataclass(frozen=True, slots=True)
class Agenda:
    """What a look has to do: `closing` are new days in order, `affected` all days whose row may change."""

    reign: Reign
    not_before: date
    closing: list[date]
    affected: list[date]
    touched: dict[date, Signature]
    is_last: bool


class RollingEvaluation:
    def __init__(self, store: RollingStore, slot: str, rule: RollingRule, breach: BreachRule) -> None:
        self._store = store
        self._slot = slot
        self._rule = rule
        self._breach = breach
        self._last_look: datetime | None = None
        self._counted: dict[date, Signature] = {}

    async def look(self) -> bool:
        """True: more days wait to be closed, look again at once."""
        now = await self._store.fetch_now()
        since = self._last_look or await self._store.fetch_last_look()
        if since is None:
            return False
        async with self._store.look() as connection:
            agenda = await self._agenda(connection, since - OVERLAP)
            if agenda is not None:
                await self._follow(connection, agenda)
        self._last_look = now
        self._counted = agenda.touched if agenda else {}
        return agenda is not None and not agenda.is_last

    async def _agenda(self, connection: Connection, since: datetime) -> Agenda | None:
        reign = await self._store.fetch_reign(connection)
        last = last_closed_day(await self._store.fetch_as_of(connection))
        if reign is None or last is None:
            return None
        not_before = await self._first_day_of(connection, reign)
        if not_before is None:
            return None
        recorded_to = await self._store.fetch_recorded_to(connection) or not_before - timedelta(days=1)
        until = min(last, recorded_to + timedelta(days=DAYS_AT_ONCE))
        closing = days_between(recorded_to + timedelta(days=1), until)
        touched = await fetch_touched_days(connection, since, recorded_to)
        # What the overlap shows a second time is not worth a second count.
        changed = [day for day, signature in touched.items() if self._counted.get(day) != signature]
        behind = {day + timedelta(days=n) for day in changed for n in range(self._rule.window_days)}
        affected = sorted({day for day in behind if day <= recorded_to} | set(closing))
        return Agenda(reign, not_before, closing, affected, touched, is_last=until >= last)

    async def _first_day_of(self, connection: Connection, reign: Reign) -> date | None:
        """The first day that closes while the live version is live."""
        closed = last_closed_day(reign.as_of)
        return await self._store.fetch_first_day(connection) if closed is None else closed + timedelta(days=1)

    async def _follow(self, connection: Connection, agenda: Agenda) -> None:
        if not agenda.affected:
            return
        needed = {day - timedelta(days=n) for day in agenda.affected for n in range(self._rule.window_days)}
        decided = await self._store.fetch_decided(connection, needed)
        first = min(agenda.affected[0], (agenda.closing or agenda.affected)[0] - timedelta(days=self._breach.days))
        stored = await self._store.fetch_windows(connection, first, agenda.affected[-1])
        rows = await asyncio.to_thread(self._rows, agenda, decided, stored)
        await self._store.record_days(connection, rows)
        if agenda.closing:
            windows = {window.day: window for window in stored.get(agenda.reign.version, [])}
            windows |= {row.day: row.window for row in rows if row.version == agenda.reign.version}
            log.info("days_closed", n=len(agenda.closing), last=agenda.closing[-1], version=agenda.reign.version)
            await self._turn(connection, agenda, windows.values())

    def _rows(
        self, agenda: Agenda, decided: Mapping[str, Sequence[DecidedRow]], stored: Mapping[str, Sequence[WindowValue]]
    ) -> list[DailyRow]:
        """For the live version every day that closes; for any version, days in whose window it has outcomes, or had."""
        rows: list[DailyRow] = []
        for version in sorted({agenda.reign.version, *decided, *stored}):
            outcomes = decided_outcomes(decided.get(version, ()))
            kept = {window.day for window in stored.get(version, ())}
            if version == agenda.reign.version:
                kept |= set(agenda.closing)
            for row in daily_rows(version, outcomes, agenda.affected, self._rule):
                if row.day in kept or row.window.n_loans:
                    rows.append(row)
        return rows

    async def _turn(self, connection: Connection, agenda: Agenda, windows: Iterable[WindowValue]) -> None:
        version = agenda.reign.version
        await lock_slot(connection, self._slot)
        live = await fetch_live(connection, self._slot)
        if live is None or live.version != version:
            # Replaced since this look began: the days that count for its successor close later.
            return
        turns = turns_of(
            windows,
            agenda.closing,
            is_open=await has_open_breach(connection, version),
            not_before=agenda.not_before,
            rule=self._breach,
        )
        for turn in turns:
            breach_id = await self._record(connection, version, turn)
            reason = reason_of(turn, self._rule, self._breach)
            await announce_turn(
                connection, version, turn,
                breach_id=breach_id, reason=reason, metric=self._rule.metric,
                threshold=self._breach.below, window_days=self._rule.window_days,
            )  # fmt: skip
            log.warning(
                "breach_opened" if turn.kind == "breach" else "breach_recovered", version=version, reason=reason
            )

    async def _record(self, connection: Connection, version: str, turn: Turn) -> int | None:
        if turn.kind == "breach":
            return await open_breach(connection, version, turn, relapse_days=self._breach.relapse_days)
        return await recover_breach(connection, version, turn)
