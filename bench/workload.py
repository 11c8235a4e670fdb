"""What the speed benchmarks score: real loans of the sample, and a network of full size with random weights.

Speed does not depend on what the weights are, so nothing is trained for it.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import numpy as np
import pyarrow.parquet as pq
import torch
from loanloop_common.bundle import Calibration
from loanloop_common.features import EncodedBatch, Encoder, columns_of
from loanloop_common.loan_codec import Loan, LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import Pool
from loanloop_common.resources import SAMPLE
from loanloop_trainer.model.encoding import fit_encoder
from loanloop_trainer.model.exporting import export
from loanloop_trainer.model.tabtransformer import TabTransformer
from loanloop_trainer.model.trained import HeldOut, TrainedModel
from loanloop_trainer.model.training import network_of

PORTFOLIO = load_portfolio("sba")
CODEC = LoanCodec(PORTFOLIO)
DAY = datetime(2006, 1, 1, tzinfo=UTC)
ENCODER_ROWS = 4096

Message = tuple[bytes, bytes]


@cache
def _sample() -> dict[str, list[Any]]:
    table = pq.read_table(SAMPLE)
    return {name: table[name].to_pylist() for name in PORTFOLIO.features}


def make_messages(n: int, *, first: int = 0, loan_id: Callable[[int], str] = str) -> list[Message]:
    """(key, value) of `loan.received`, in the order of the sample, again from its start where `n` is larger."""
    columns = _sample()
    return [
        (
            loan_id(i).encode(),
            json.dumps(
                {
                    "event_id": str(uuid5(NAMESPACE_URL, f"bench:{i}")),
                    "occurred_at": "2006-01-01T00:00:00Z",
                    "schema_version": 1,
                    "loan_id": loan_id(i),
                    "features": {name: column[i % len(column)] for name, column in columns.items()},
                }
            ).encode(),
        )
        for i in range(first, first + n)
    ]


def make_outcomes(n: int, *, first: int = 0) -> list[Message]:
    """(key, value) of the `loan.outcome` of each of `make_messages`."""
    return [
        (
            str(i).encode(),
            json.dumps(
                {
                    "event_id": str(uuid5(NAMESPACE_URL, f"bench:outcome:{i}")),
                    "occurred_at": "2006-01-31T00:00:00Z",
                    "schema_version": 1,
                    "loan_id": f"{i}",
                    "defaulted": i % 6 == 0,
                    "known_at": "2006-01-31T00:00:00Z",
                }
            ).encode(),
        )
        for i in range(first, first + n)
    ]


@cache
def some_loans() -> Sequence[Loan]:
    return [CODEC.decode(value) for _, value in make_messages(ENCODER_ROWS)]


@cache
def encoder() -> Encoder:
    return fit_encoder(PORTFOLIO, columns_of([loan.features for loan in some_loans()], PORTFOLIO.features))


@cache
def encoded() -> EncodedBatch:
    """(4096, …)"""
    return encoder().encode_features([loan.features for loan in some_loans()])


def make_network() -> TabTransformer:
    torch.manual_seed(1)
    return network_of(encoder(), PORTFOLIO.model).eval()


@cache
def make_bundle(version: str = "v1") -> bytes:
    trained = TrainedModel(
        network=make_network(),
        encoder=encoder(),
        portfolio=PORTFOLIO,
        seed=1,
        calibration=Calibration(slope=1.0, intercept=0.0),
        threshold=0.5,
        metrics={},
        audit=[],
        validation=encoded(),
        held_out=HeldOut(np.zeros(0)),
        train_from=DAY,
        train_to=DAY,
        n_train=ENCODER_ROWS,
        n_validation=0,
    )
    return export(trained, version=version, code_version="bench")


async def deploy(pool: Pool, number: int, bundle: bytes) -> None:
    """Make the bundle live as version `v{number}`; rows that trainer and evaluator would have written."""
    await store_model(pool, number, bundle)
    await make_live(pool, number, f"v{number}")


async def store_model(pool: Pool, number: int, bundle: bytes) -> None:
    run_id = await pool.fetchval(
        "INSERT INTO loan_data.training_runs (trigger, portfolio, state, seed) "
        "VALUES ('manual', 'sba', 'succeeded', 1) RETURNING run_id"
    )
    await pool.execute(
        """
        INSERT INTO loan_data.model_metadata (version, number, run_id, portfolio, schema_hash, train_from, train_to,
                                              n_rows, hyperparameters, metrics, manifest, bundle, bundle_sha256)
        VALUES ($1, $2, $3, 'sba', $4, $5, $5, 1, '{}', '{}', '{}', $6, $7)
        """,
        f"v{number}", number, run_id, PORTFOLIO.schema_hash, DAY, bundle, hashlib.sha256(bundle).digest(),
    )  # fmt: skip


async def make_live(pool: Pool, deployment_seq: int, version: str) -> None:
    await pool.execute(
        "INSERT INTO loan_data.deployments (deployment_seq, slot, version, kind, actor, reason, event_id) "
        "VALUES ($1, 'sba', $2, 'deploy', 'bench', 'bench', $3)",
        deployment_seq, version, uuid4(),
    )  # fmt: skip
