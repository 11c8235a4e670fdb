"""Loans a second through the predictor, from Kafka to commit, beside bare forward passes in the same run.

    python bench/hot_path.py [--loans 60000] [--batch 4096] [--threads 2]

Kafka, PostgreSQL and the predictor run on this machine; the network has its full size, its weights are random.
Prints one JSON object; what counts is `ratio`, since machines and their load differ.
"""

import argparse
import asyncio
import hashlib
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import torch
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.ports import ANY_FREE
from loanloop_common.bundle import Calibration, unpack
from loanloop_common.events import Topic
from loanloop_common.features import columns_of
from loanloop_common.kafka import create_topics, make_broker, publish_batch, stop_broker
from loanloop_common.loan_codec import Loan, LoanCodec
from loanloop_common.portfolio import load_portfolio
from loanloop_common.postgres import Pool, create_pool, migrate
from loanloop_common.resources import resource_folder
from loanloop_common.scoring import Scorer
from loanloop_common.settings import KafkaSettings
from loanloop_trainer.model.encoding import fit_encoder
from loanloop_trainer.model.exporting import export
from loanloop_trainer.model.tabtransformer import TabTransformer
from loanloop_trainer.model.training import TrainedModel

PORTFOLIO = load_portfolio("sba")
CODEC = LoanCodec(PORTFOLIO)
DAY = datetime(2006, 1, 1, tzinfo=UTC)


def make_messages(n: int) -> list[tuple[bytes, bytes]]:
    table = pq.read_table(resource_folder("portfolios") / "sba" / "loans.parquet").slice(0, n)
    columns = {name: table[name].to_pylist() for name in PORTFOLIO.features}
    messages = []
    for i in range(n):
        features = {name: column[i % len(column)] for name, column in columns.items()}
        loan = {
            "event_id": str(uuid4()),
            "occurred_at": "2006-01-01T00:00:00Z",
            "schema_version": 1,
            "loan_id": f"{i}",
            "features": features,
        }
        messages.append((str(i).encode(), json.dumps(loan).encode()))
    return messages


def make_full_size_bundle(loans: list[Loan]) -> bytes:
    columns = columns_of([loan.features for loan in loans], PORTFOLIO.features)
    encoder = fit_encoder(PORTFOLIO, columns)
    model = PORTFOLIO.model
    torch.manual_seed(1)
    network = TabTransformer(
        category_ids=[part.n_ids for part in encoder.categories],
        exact_ids=[part.n_ids for part in encoder.numbers],
        d_model=model.d_model,
        n_layers=model.n_layers,
        n_heads=model.n_heads,
        d_feedforward=model.d_feedforward,
        dropout=model.dropout,
        embedding_std=model.embedding_std,
    )
    trained = TrainedModel(
        network=network,
        encoder=encoder,
        portfolio=PORTFOLIO,
        seed=1,
        calibration=Calibration(slope=1.0, intercept=0.0),
        threshold=0.5,
        metrics={},
        audit=[],
        validation=encoder.encode_columns(columns),
        train_from=DAY,
        train_to=DAY,
        n_train=len(loans),
        n_validation=0,
    )
    return export(trained, version="v1", code_version="bench")


def bare_forwards_per_s(bundle: bytes, loans: list[Loan], threads: int) -> float:
    scorer = Scorer(unpack(bundle), threads=threads)
    batch = scorer.bundle.encoder.encode_features([loan.features for loan in loans])
    scorer.score(batch)
    started = time.perf_counter()
    for _ in range(4):
        scorer.score(batch)
    return 4 * len(loans) / (time.perf_counter() - started)


async def deploy(pool: Pool, bundle: bytes) -> None:
    run_id = await pool.fetchval(
        "INSERT INTO loan_data.training_runs (trigger, portfolio, state, seed) "
        "VALUES ('manual', 'sba', 'succeeded', 1) RETURNING run_id"
    )
    await pool.execute(
        """
        INSERT INTO loan_data.model_metadata (version, number, run_id, portfolio, schema_hash, train_from, train_to,
                                              n_rows, hyperparameters, metrics, manifest, bundle, bundle_sha256)
        VALUES ('v1', 1, $1, 'sba', $2, $3, $3, 1, '{}', '{}', '{}', $4, $5)
        """,
        run_id, PORTFOLIO.schema_hash, DAY, bundle, hashlib.sha256(bundle).digest(),
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO loan_data.deployments (deployment_seq, slot, version, kind, actor, reason, event_id) "
        "VALUES (1, 'sba', 'v1', 'deploy', 'bench', 'bench', $1)",
        uuid4(),
    )


async def through_the_predictor(pool: Pool, n_loans: int) -> float:
    """Loans a second from the first decision seen to the last: the start of the process is left out."""
    seen: list[tuple[float, int]] = []
    while not seen or seen[-1][1] < n_loans:
        n = await pool.fetchval("SELECT count(*) FROM loan_data.decision_keys")
        if n and (not seen or n != seen[-1][1]):
            seen.append((time.perf_counter(), n))
        await asyncio.sleep(0.05)
    (first_at, first), (last_at, last) = seen[0], seen[-1]
    return (last - first) / (last_at - first_at)


async def measure(n_loans: int, batch: int, threads: int) -> dict[str, Any]:
    messages = make_messages(n_loans)
    loans = [CODEC.decode(value) for _, value in messages[:4096]]
    bundle = make_full_size_bundle(loans)
    with tempfile.TemporaryDirectory(prefix="loanloop-bench-") as folder:
        async with EmbeddedInfrastructure(Path(folder), ports=ANY_FREE) as infrastructure:
            await migrate(infrastructure.postgres_dsn)
            await create_topics(infrastructure.kafka_bootstrap)
            pool = await create_pool(infrastructure.postgres_dsn, application_name="bench")
            await deploy(pool, bundle)
            broker = make_broker(KafkaSettings(bootstrap_servers=infrastructure.kafka_bootstrap), service="bench")
            await broker.connect()
            await publish_batch(broker, Topic.LOAN_RECEIVED, messages)
            await stop_broker(broker)
            before = bare_forwards_per_s(bundle, loans, threads)
            await infrastructure.start_service(
                "predictor",
                LOANLOOP_PREDICTOR__BATCH_RECORDS=str(batch),
                LOANLOOP_PREDICTOR__THREADS=str(threads),
            )
            loans_per_s = await through_the_predictor(pool, n_loans)
            await infrastructure.stop_services()
            after = bare_forwards_per_s(bundle, loans, threads)
            await pool.close()
    bare = (before + after) / 2
    return {
        "loans": n_loans, "batch": batch, "threads": threads, "loans_per_s": round(loans_per_s),
        "bare_forwards_per_s": [round(before), round(after)], "ratio": round(loans_per_s / bare, 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loans", type=int, default=60_000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    print(json.dumps(asyncio.run(measure(asked.loans, asked.batch, asked.threads))))


if __name__ == "__main__":
    main()
