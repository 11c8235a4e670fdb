"""The frozen rows as columns: decoded some at a time, so that no second copy of them lies in memory."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt
import structlog
from loanloop_common.errors import AccessRefused, LoanloopError, Unavailable, in_one_line
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import UNREACHABLE, Pool, create_pool
from loanloop_common.wire_rules import UNDECODABLE

from loanloop_trainer.domain.split import Mask
from loanloop_trainer.domain.window import unlabelled_at_most
from loanloop_trainer.model import TrainingData
from loanloop_trainer.store.claimed import Run
from loanloop_trainer.store.freeze import Window
from loanloop_trainer.store.rows import (
    StoredLoans,
    Take,
    copy_rows,
    copy_unlabelled,
    copy_unlabelled_of,
    copy_window,
    wait_for_rows,
)

log = structlog.get_logger()

REPLICA_WITHIN_S = 30.0
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's


class RowsMissing(LoanloopError):
    """Loans of the frozen set are not in the database any more."""

    def __init__(self, n_rows: int, n_found: int) -> None:
        self.n_rows = n_rows
        self.n_found = n_found
        super().__init__(f"{n_rows:,} rows were frozen for this training, but {n_found:,} are there")


class RowsUnreadable(LoanloopError):
    """Loans of the frozen set can't be decoded; no retry helps."""

    def __init__(self, n_rows: int, first: datetime, reason: str) -> None:
        self.n_rows = n_rows
        super().__init__(
            f"the features of {n_rows:,} stored loans can't be read, first of one that occurred at "
            f"{first.isoformat()}: {reason}; mend or delete them in the table processed_data"
        )


async def load_rows(primary: Pool, read_only_dsn: str | None, run: Run, portfolio: Portfolio) -> TrainingData:
    """From the read replica, if there is one that answers, lets us in and catches up in time.

    Raises RowsMissing, RowsUnreadable.
    """
    if read_only_dsn is not None:
        try:
            return await _load_from_replica(read_only_dsn, run, portfolio)
        except (RowsMissing, Unavailable, AccessRefused, asyncpg.PostgresError, *UNREACHABLE) as unusable:
            log.warning("replica_not_used", reads_from="primary", run_id=str(run.run_id), error=in_one_line(unusable))
    return await _load(primary, run, portfolio)


async def _load_from_replica(dsn: str, run: Run, portfolio: Portfolio) -> TrainingData:
    replica = await create_pool(dsn, application_name="training", max_size=1)
    try:
        await wait_for_rows(replica, run.run_id, run.n_frozen, within_s=REPLICA_WITHIN_S)
        return await _load(replica, run, portfolio)
    finally:
        replica.terminate()


async def _load(pool: Pool, run: Run, portfolio: Portfolio) -> TrainingData:
    data = await _decoded(partial(copy_rows, pool, run.run_id), portfolio)
    n_found = len(data)
    if run.n_unlabelled:
        unlabelled = await _decoded(partial(copy_unlabelled, pool, run.run_id), portfolio)
        data, n_found = replace(data, unlabelled=unlabelled.columns), n_found + len(unlabelled)
    if n_found != run.n_frozen:
        raise RowsMissing(run.n_frozen, n_found)
    return data


async def load_window(pool: Pool, window: Window, portfolio: Portfolio) -> TrainingData:
    """What a training that was made now would learn from, without making one."""
    data = await _decoded(partial(copy_window, pool, window), portfolio)
    at_most = unlabelled_at_most(portfolio.policy, portfolio.model)
    unlabelled = await _decoded(partial(copy_unlabelled_of, pool, window, at_most), portfolio)
    return replace(data, unlabelled=unlabelled.columns) if len(unlabelled) else data


async def _decoded(copy: Callable[[Take], Awaitable[None]], portfolio: Portfolio) -> TrainingData:
    # On the event loop, a few milliseconds at a time: nothing else runs there but the heartbeat, and a thread would
    # take turns with the loop for each piece that arrives (docs/decisions/0055).
    columns = _Columns(portfolio)
    await copy(columns.extend)
    return columns.data()


class _Columns:
    def __init__(self, portfolio: Portfolio) -> None:
        self._codec = LoanCodec(portfolio)
        self._columns: dict[str, list[Any]] = {name: [] for name in portfolio.features}
        self._defaulted: list[Mask] = []
        self._since_2000: list[npt.NDArray[np.timedelta64]] = []
        self._texts = frozenset(f.name for f in portfolio.features.values() if f.kind == "category")
        self._seen: dict[str | None, str | None] = {}
        self._unreadable: list[tuple[int, str]] = []

    def extend(self, loans: StoredLoans) -> None:
        if not loans.features:
            return
        try:
            columns = self._codec.decode_columns(loans.features)
        except UNDECODABLE:
            self._unreadable += self._unreadable_of(loans)
            return
        for name, values in columns.items():
            # A bank's name comes thousands of times; one string of it is enough.
            self._columns[name].extend(map(self._seen.setdefault, values, values) if name in self._texts else values)
        self._defaulted.append(np.array(loans.defaulted, np.bool_))
        self._since_2000.append(np.array(loans.occurred_at, "timedelta64[us]"))

    def _unreadable_of(self, loans: StoredLoans) -> Iterator[tuple[int, str]]:
        for occurred_at, features in zip(loans.occurred_at, loans.features, strict=True):
            try:
                self._codec.decode_features(features)
            except UNDECODABLE as refused:
                yield occurred_at, in_one_line(refused)

    def data(self) -> TrainingData:
        """Raises RowsUnreadable."""
        if self._unreadable:
            occurred_at, reason = self._unreadable[0]
            raise RowsUnreadable(len(self._unreadable), EPOCH + timedelta(microseconds=occurred_at), reason)
        since_2000 = np.concatenate([np.empty(0, "timedelta64[us]"), *self._since_2000])
        defaulted = np.concatenate([np.empty(0, np.bool_), *self._defaulted])
        return TrainingData(self._columns, defaulted, np.datetime64(EPOCH.replace(tzinfo=None), "us") + since_2000)
