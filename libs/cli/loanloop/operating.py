"""What the commands on models stand on: database and portfolio of an installation, and the evaluator's own code."""

import contextlib
import os
import pwd
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loanloop_common.events import ModelDeployed
from loanloop_common.installation import check_schema
from loanloop_common.instances import fetch_is_running
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import Pool, create_pool

from loanloop.target import find_target

if TYPE_CHECKING:
    from loanloop_evaluator.handlers.operator import Operator


def operator_name(given: str | None = None) -> str:
    """Who is asking, for the audit: the name that was given, else this process's user; `uid 1234` where it has no name.

    Whoever asks may give any name: the database keeps beside it who was logged in.
    """
    if given:
        return given
    try:
        return pwd.getpwuid(os.getuid()).pw_name  # not of the environment, which anybody sets
    except KeyError:
        return f"uid {os.getuid()}"


@dataclass(frozen=True)
class Operated:
    pool: Pool
    portfolio: Portfolio

    def operator(self, name: str | None) -> "Operator":
        from loanloop_evaluator.handlers.contender import BundleScorer
        from loanloop_evaluator.handlers.operator import Operator

        return Operator(
            self.pool,
            slot=self.portfolio.name,
            min_outcomes=self.portfolio.policy.min_outcomes,
            load=partial(BundleScorer, portfolio=self.portfolio, threads=1),
            actor=operator_name(name),
        )

    async def evaluator_runs(self) -> bool:
        return await fetch_is_running(self.pool, service="evaluator")


@contextlib.asynccontextmanager
async def operated(data_dir: Path, *, read_only: bool = False) -> AsyncIterator[Operated]:
    """The pool and the portfolio of what the data folder or the settings name.

    Raises Unavailable, and InstallationMismatch where the database is not of this version.
    """
    target = find_target(data_dir)
    pool = await create_pool(target.dsn(read_only=read_only), application_name="operator", max_size=2)
    try:
        portfolio = await target.served_portfolio(pool)
        await check_schema(pool)
        yield Operated(pool, portfolio)
    finally:
        await pool.close()


def say(deployed: ModelDeployed, *, evaluator_runs: bool) -> None:
    """What was done, and who learns of it when."""
    print(f"{deployed.version} is live (deployment {deployed.deployment_seq}, {deployed.kind}).")
    if deployed.pinned:
        print("It is pinned: challengers are judged, not deployed, until you run: loanloop unpin")
    if not evaluator_runs:
        print(
            "No evaluator is running: the event model.deployed is published when one starts. "
            "Predictors read the live version from the database within seconds."
        )
