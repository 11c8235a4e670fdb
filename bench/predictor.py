"""The predictor as the benchmarks start it, with a model live, and what is sent to its REST."""

import json
from functools import cache, partial

from loanloop.runtime.children import Child

from bench.installation import Installation
from bench.machine import cores
from bench.progress import seen_until
from bench.workload import deploy, make_bundle, make_messages

N_BODIES = 4096


@cache
def predict_bodies() -> list[bytes]:
    """Of POST /predict. Without event_id and date: each request is a loan that was never seen."""
    loans = (json.loads(value) for _, value in make_messages(N_BODIES))
    return [json.dumps({"loan_id": loan["loan_id"], "features": loan["features"]}).encode() for loan in loans]


async def start_predictor(installation: Installation, **settings: str) -> Child:
    """Returns once version v1 decides."""
    await deploy(installation.pool, 1, make_bundle())
    child = await installation.infrastructure.start_service(
        "predictor", LOANLOOP_PREDICTOR__THREADS=str(cores()), **settings
    )
    await applied(installation, 1)
    return child


async def applied(installation: Installation, seq: int, *, by: int = 1) -> None:
    """Returns once so many predictors say that they serve the deployment or a later one. Raises RuntimeError."""
    query = "SELECT count(*) FROM loan_data.service_instances WHERE deployment_seq >= $1"
    serving = partial(installation.pool.fetchval, query, seq)
    await seen_until(by, serving, f"predictors serve deployment {seq}", look_every_s=0.02)
