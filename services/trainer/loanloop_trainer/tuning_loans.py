"""The loans that a search for hyperparameters learns from: those of the next training, or of a file."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from loanloop_common.errors import LoanloopError
from loanloop_common.event_time import fetch_as_of
from loanloop_common.features import Columns
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import Pool

from loanloop_trainer.domain.split import Mask, Times, TooFewDays, newest_from
from loanloop_trainer.domain.window import gate_size, months_before, shortage, unlabelled_at_most
from loanloop_trainer.model import TrainingData
from loanloop_trainer.runner.loading import load_window
from loanloop_trainer.store.freeze import Window, count_window, fetch_shortage, fetch_window

FROM_DATABASE = "database"


class NothingToLearn(LoanloopError):
    """There are no, or too few, labelled loans to search on."""


@dataclass(frozen=True)
class Loans:
    """`window`: where in the database they are from; None where they are from a file, of which is `file_sha256`."""

    data: TrainingData
    source: str
    window: Window | None = None
    file_sha256: bytes = b""

    def sha256(self) -> bytes:
        """Of labels and times; of a file the rest too, which may be edited.

        In the database loans without a label come and go with what arrives: they make no other search, for no trial is
        judged by them. A label that comes late into the window does.
        """
        said = hashlib.sha256(self.data.defaulted.tobytes())
        said.update(self.data.occurred_at.astype("datetime64[us]").astype(np.int64).tobytes())
        said.update(self.file_sha256)
        return said.digest()

    def check(self, portfolio: Portfolio) -> "Loans":
        """Raises NothingToLearn, for what would end each of the trials."""
        if problem := shortage(len(self.data), int(self.data.defaulted.sum())):
            raise NothingToLearn(problem)
        try:
            newest_from(self.data.occurred_at, portfolio.model.validation_share)
        except TooFewDays as few:
            raise NothingToLearn(f"{few}: send loans of more days") from few
        return self


async def load_from_database(
    pool: Pool, portfolio: Portfolio, window: Window | None, on_count: Callable[[int], None]
) -> Loans:
    """The loans of a window; without one, of what a training that was made now would have. Raises NothingToLearn.

    `on_count` is told how many there are before they are read.
    """
    async with pool.acquire() as connection:
        if window is None:
            as_of = await fetch_as_of(connection, portfolio.policy.min_outcomes)
            window = await fetch_window(connection, as_of, portfolio.policy)
            if window is None:
                raise NothingToLearn(await fetch_shortage(connection, as_of, portfolio.policy) or "")
        on_count(await count_window(connection, window))
    return Loans(await load_window(pool, window, portfolio), FROM_DATABASE, window).check(portfolio)


def of_file(data: TrainingData, unlabelled_at: Times, name: str, sha256: bytes, portfolio: Portfolio) -> Loans:
    """What a training would learn from, were these the loans of the database and all outcomes in `data` known.

    `unlabelled_at`: when its unlabelled ones occurred. `sha256` is of the file's bytes. Raises NothingToLearn.
    """
    policy = portfolio.policy
    if len(data) == 0:
        raise NothingToLearn(shortage(0, 0) or "")
    times = data.occurred_at.astype("datetime64[us]")
    first = months_before(times.max(), policy.training_window_months)
    recent = times > first
    gate_from = np.sort(times[recent])[-gate_size(int(recent.sum()), policy)]
    chosen = data.rows(recent & (times < gate_from))
    last = chosen.occurred_at.max() if len(chosen) else first
    in_window = (unlabelled_at > first) & (unlabelled_at <= last)
    unlabelled = _newest(data.unlabelled or {}, unlabelled_at, in_window, unlabelled_at_most(policy, portfolio.model))
    return Loans(replace(chosen, unlabelled=unlabelled), f"file {name}", file_sha256=sha256).check(portfolio)


def _newest(columns: Columns, times: Times, mask: Mask, at_most: int) -> Columns | None:
    chosen = np.flatnonzero(mask)
    in_order = chosen[np.argsort(times[chosen], kind="stable")]
    newest: list[int] = in_order[max(len(in_order) - at_most, 0) :].tolist()
    return {name: [column[i] for i in newest] for name, column in columns.items()} if newest else None
