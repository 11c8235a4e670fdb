"""The demo's end: asks the database, checks, and compares the version before the swap with the one after."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from loanloop_common.events import Topic
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import Connection, create_pool

from loanloop.demo import queries
from loanloop.demo.checks import Check, Sent, SideBySide, checks_of, swap_after_breach
from loanloop.demo.frozen import side_by_side
from loanloop.demo.plan import Plan
from loanloop.demo.rest import RestFigures
from loanloop.observe.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Result:
    snapshot: Snapshot
    sent: Sent
    rest: RestFigures
    checks: Sequence[Check]
    swap_s: dict[str, float | None]
    side_by_side: SideBySide | None
    audit_warnings: dict[str, str]
    took_s: float

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


@dataclass(frozen=True, kw_only=True)
class Story:
    """What was sent and asked from `started` on, and how the installation looks then; `own`: the ids of the loans."""

    snapshot: Snapshot
    sent: Sent
    own: Collection[str]
    rest: RestFigures
    started: float


async def result_of(plan: Plan, portfolio: Portfolio, dsn: str, story: Story) -> Result:
    snapshot, sent, rest = story.snapshot, story.sent, story.rest
    pool = await create_pool(dsn, application_name="demo", max_size=1)
    try:
        async with pool.acquire() as connection:
            published = snapshot.messages.get(Topic.LOAN_SCORED.value, 0)
            ledger = await queries.fetch_ledger(connection, story.own, scored_published=published)
            both = await _before_beside_after(connection, portfolio, snapshot)
            return Result(
                snapshot=snapshot,
                sent=sent,
                rest=rest,
                checks=checks_of(plan, snapshot, sent, rest, ledger, both),
                swap_s=await _swaps(connection, snapshot),
                side_by_side=both,
                audit_warnings=await _audit_warnings(connection, snapshot),
                took_s=time.monotonic() - story.started,
            )
    finally:
        await pool.close()


async def _swaps(connection: Connection, snapshot: Snapshot) -> dict[str, float | None]:
    return {
        str(deployment.deployment_seq): await queries.fetch_swap_s(connection, deployment.deployment_seq)
        for deployment in snapshot.deployments
    }


async def _before_beside_after(connection: Connection, portfolio: Portfolio, snapshot: Snapshot) -> SideBySide | None:
    """On the loans that the later one decided itself; None as long as the first one is live."""
    swap = swap_after_breach(snapshot) or snapshot.live
    frozen = swap.previous if swap is not None else None
    if swap is None or frozen is None:
        return None
    return await side_by_side(connection, portfolio, frozen=frozen, live=swap.version)


async def _audit_warnings(connection: Connection, snapshot: Snapshot) -> dict[str, str]:
    if snapshot.live is None:
        return {}
    manifest = await queries.fetch_manifest(connection, snapshot.live.version)
    return {finding["feature"]: finding["warning"] for finding in manifest["audit"] if finding["warning"]}
