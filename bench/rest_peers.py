"""The model servers that REST is compared with, each serving the ONNX file of the bundle.

They get the loans as the network's inputs, encoded beforehand: what the predictor does beside the forward pass
(validating, encoding, storing, an answer with a decision) is spared them.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from loanloop_common.features import EncodedBatch

from bench.machine import cores
from bench.peers.running import answers, peer_process, three_free_ports
from bench.peers.serving import ServingPeer
from bench.workload import encoded

_DATATYPES = {"int64": "INT64", "float32": "FP32"}


@dataclass(frozen=True)
class RestPeer(ServingPeer):
    path: str
    body_of: Callable[[EncodedBatch], Any]


def as_inference_request(row: EncodedBatch) -> Any:
    inputs = [
        {
            "name": name,
            "shape": list(part.shape),
            "datatype": _DATATYPES[str(part.dtype)],
            "data": part.ravel().tolist(),
        }
        for name, part in row._asdict().items()
    ]
    return {"inputs": inputs}


def _as_one_row(row: EncodedBatch) -> Any:
    return {"rows": np.concatenate([part.astype(np.float64) for part in row], axis=1).tolist()}


def _as_tensors(row: EncodedBatch) -> Any:
    return {"inputs": {name: part.tolist() for name, part in row._asdict().items()}}


WORKERS = f"{cores()} workers"


def _mlserver(name: str, scored_by: str, workers: int) -> RestPeer:
    path = "/v2/models/network/infer"
    arguments = (str(workers),)
    return RestPeer(name, "mlserver", "mlserver_rest", scored_by, 1.5, path, as_inference_request, arguments=arguments)


REST_PEERS = (
    _mlserver("MLServer, no workers", "the server's process", 0),
    _mlserver(f"MLServer, {WORKERS}", f"{WORKERS} beside the server", cores()),
    RestPeer("BentoML", "bentoml", "bentoml_rest", WORKERS, 2.0, "/predict", _as_one_row),
    RestPeer("mlflow models serve", "mlflow", "mlflow_rest", WORKERS, 3.0, "/invocations", _as_tensors),
)


def bodies_of(peer: RestPeer) -> list[bytes]:
    rows = (encoded().rows(slice(i, i + 1)) for i in range(len(encoded().x_cat)))
    return [json.dumps(peer.body_of(row)).encode() for row in rows]


@asynccontextmanager
async def served_by(peer: RestPeer, model: bytes, say: Callable[[str], None]) -> AsyncIterator[str]:
    """Its URL, once it answers. Raises PeerUnavailable."""
    port = three_free_ports()
    files = {"model.onnx": model}
    arguments = (str(port), *peer.arguments)
    async with peer_process(peer.program, *arguments, files=files, installed_as=peer.installed_as, say=say) as (
        child,
        log,
    ):
        url = f"http://127.0.0.1:{port}"
        await answers(url + peer.path, bodies_of(peer)[0], child, log)
        yield url
