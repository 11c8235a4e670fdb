"""Real bundles for tests: a small network, really trained on real loans, in seconds; kept between runs."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.resources import SAMPLE

if TYPE_CHECKING:
    from loanloop_trainer.model import TrainingData

REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".pytest_cache" / "loanloop-bundles"
_SMALL = {
    "d_model": 16,
    "n_layers": 1,
    "n_heads": 2,
    "d_feedforward": 16,
    "pretrain_epochs": 1,
    "epochs": 3,
    "min_steps": 0,
    "patience": 3,
    "batch_size": 128,
    "learning_rate": 1e-2,
}


def make_bundle(portfolio: str = "sba", version: str = "v1", seed: int = 0, n_loans: int = 3000) -> bytes:
    """A packed bundle of the preset, trained on the sample's first loans; another seed gives another model."""
    kept = CACHE / f"{version}-{_hash_of(portfolio, version, seed, n_loans)}.bundle"
    CACHE.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(kept.with_suffix(".lock")):
        if not kept.is_file():
            partial = kept.with_suffix(".partial")
            partial.write_bytes(_trained(load_portfolio(portfolio).with_model(**_SMALL), version, seed, n_loans))
            partial.replace(kept)
    return kept.read_bytes()


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """Of all processes: what one worker of the tests trains, the others wait for and read."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def read_sample(n_loans: int, portfolio: Portfolio) -> "TrainingData":
    """The first loans of the sample that is shipped."""
    from loanloop_trainer.model import TrainingData

    loans = pq.read_table(SAMPLE).slice(0, n_loans)
    columns = {name: loans[name].to_pylist() for name in portfolio.features}
    defaulted = loans["defaulted"].to_numpy().astype(np.bool_)
    return TrainingData(columns, defaulted, loans["approved_at"].to_numpy().astype("datetime64[us]"))


def _trained(portfolio: Portfolio, version: str, seed: int, n_loans: int) -> bytes:
    from loanloop_trainer.model import export, train

    data = read_sample(n_loans, portfolio)
    return export(train(data, portfolio, seed=seed, threads=1), version=version, code_version="test")


def _hash_of(portfolio: str, version: str, seed: int, n_loans: int) -> str:
    """Also over the code and files that make a bundle, so that no stale one is ever used."""
    folders = [REPOSITORY / "services/trainer/loanloop_trainer", REPOSITORY / "libs/common/loanloop_common"]
    relevant = [path for folder in folders for path in sorted(folder.glob("model/*.py")) + sorted(folder.glob("*.py"))]
    said = hashlib.sha256(f"{portfolio} {version} {seed} {n_loans} {_SMALL}".encode())
    for path in [*relevant, *sorted(SAMPLE.parent.glob("*.toml")), SAMPLE]:
        said.update(path.read_bytes())
    return said.hexdigest()[:16]
