"""A database with tiny loans, and all that trainer, evaluator and operator write about models, made by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import Pool
from loanloop_trainer.domain.ports import TrainInChild
from loanloop_trainer.handlers import Retraining, make_poller
from loanloop_trainer.runner.orders import Orders
from loanloop_trainer.runner.process import train_in_child
from loanloop_trainer.store.claimed import ClaimedRunStore, FinishedModel
from loanloop_trainer.store.runs import RunStore

from tests.support.tiny_portfolio import make_loans, store_loans, write_tiny_portfolio
from tests.support.training_orders import make_orders

TAKE_OUTCOMES = """
    UPDATE loan_data.processed_data SET defaulted = NULL, outcome_occurred_at = known_at, known_at = NULL
    WHERE substr(loan_id, 6)::int % $1 = 0
"""
GIVE_OUTCOMES = """
    UPDATE loan_data.processed_data SET defaulted = true, known_at = outcome_occurred_at WHERE defaulted IS NULL
"""
MODEL_TIME = datetime(2005, 2, 1, tzinfo=UTC)


@dataclass
class TrainerWorld:
    dsn: str
    pool: Pool
    folder: Path
    n_loans: int = 0
    processes: int = 1
    hangs_after_s: float = 120.0

    def __post_init__(self) -> None:
        self.portfolio_file = write_tiny_portfolio(self.folder)

    def set_portfolio(self, **changes: Any) -> None:
        self.portfolio_file = write_tiny_portfolio(self.folder, **changes)

    @property
    def portfolio(self) -> Portfolio:
        return load_portfolio(self.portfolio_file)

    @property
    def runs(self) -> RunStore:
        return RunStore(self.pool, self.portfolio)

    def retraining(self, owner: str = "a", train: TrainInChild | None = None) -> Retraining:
        return Retraining(
            self.runs,
            self.portfolio.policy,
            train or partial(train_in_child, orders=self.orders(owner), hangs_after_s=self.hangs_after_s),
            owner=owner,
            seed=1,
            poll_s=0.2,
            stale_after_s=15,
            on_change=lambda _: None,
        )

    @asynccontextmanager
    async def training(self, owner: str = "a") -> AsyncIterator[None]:
        """A trainer that runs, with real training processes."""
        poller = make_poller(self.retraining(owner), every_s=0.2)
        await poller.start()
        try:
            yield
        finally:
            await poller.stop()

    def orders(self, owner: str) -> Orders:
        facts = {"owner": owner, "portfolio": str(self.portfolio_file), "dsn": self.dsn, "processes": self.processes}
        return make_orders(**facts, checkpoint_every_s=0.1)

    async def label(self, n: int) -> None:
        """Stores `n` more loans with their outcomes."""
        await store_loans(self.pool, make_loans(n, first=self.n_loans))
        self.n_loans += n

    async def take_outcomes(self, *, each: int) -> None:
        """Of each so-manieth loan, as if nobody knew yet how it ends."""
        await self.pool.execute(TAKE_OUTCOMES, each)

    async def give_outcomes(self) -> None:
        """The contrary of what was known: whoever learnt from it would learn something else."""
        await self.pool.execute(GIVE_OUTCOMES)

    async def finish_run(self, run_id: UUID, owner: str = "a") -> str:
        """As the training process does, with a bundle that nobody reads."""
        store = ClaimedRunStore(self.pool, run_id, owner)
        version = await store.fetch_next_version()
        portfolio = self.portfolio
        return await store.finish(
            FinishedModel(
                version=version,
                bundle=b"bundle",
                sha256=b"sha",
                schema_hash=portfolio.schema_hash,
                portfolio=portfolio.name,
                train_from=MODEL_TIME - timedelta(days=30),
                train_to=MODEL_TIME,
                n_rows=1000,
                metrics={},
                manifest={},
            )
        )

    async def train_by_hand(self) -> str:
        """A model that an operator asked for."""
        run_id = await self.runs.request_run(seed=1, requested_by="test")
        assert run_id is not None
        await self.runs.claim_run("a", stale_after_s=15)
        return await self.finish_run(run_id)

    async def judge(self, version: str, *, passed: bool, opponent: str | None = None) -> None:
        for role, name, other, value in (
            ("challenger", version, opponent, 0.7 if passed else 0.55),
            ("champion", opponent, version, 0.58),
        ):
            if name is not None:
                await self.pool.execute(
                    """
                    INSERT INTO loan_data.model_performance
                        (kind, version, role, opponent, window_from, window_to, n_loans, tp, fp, tn, fn, metrics,
                         value, passed, reason)
                    VALUES ('gate', $1, $2, $3, $4, $4, 400, 1, 1, 1, 1, '{}', $5, $6, $7)
                    """,
                    name,
                    role,
                    other,
                    MODEL_TIME,
                    value,
                    passed if role == "challenger" else None,
                    f"ROC-AUC {value} on 400 loans" if role == "challenger" else None,
                )

    async def deploy(self, version: str, *, pinned: bool = False) -> None:
        await self.pool.execute(
            """
            INSERT INTO loan_data.deployments
                (deployment_seq, slot, version, kind, pinned, actor, reason, event_id, deployed_at)
            SELECT coalesce(max(deployment_seq), 0) + 1, 'tiny', $1, $2, $3, 'test', 'test', $4, clock_timestamp()
            FROM loan_data.deployments
            """,
            version,
            "rollback" if pinned else "deploy",
            pinned,
            uuid4(),
        )

    async def open_breach(self, version: str) -> int:
        breach_id: int = await self.pool.fetchval(
            """
            INSERT INTO loan_data.breaches (version, opened_on, value, upper, n_loans)
            VALUES ($1, '2005-02-01', 0.5, 0.55, 100)
            RETURNING breach_id
            """,
            version,
        )
        return breach_id

    async def newest_run(self) -> Any:
        return await self.pool.fetchrow("SELECT * FROM loan_data.training_runs ORDER BY created_at DESC LIMIT 1")

    async def succeeded(self) -> Any:
        """The newest run, once it has; None before."""
        run = await self.newest_run()
        assert run is not None
        assert run["state"] != "failed", run["error"]
        return run if run["state"] == "succeeded" else None

    async def alerts(self, kind: str) -> list[Any]:
        return list(await self.pool.fetch("SELECT * FROM loan_data.alerts WHERE kind = $1", kind))
