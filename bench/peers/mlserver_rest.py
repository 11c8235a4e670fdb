"""MLServer with the ONNX file as a custom runtime: `python mlserver_rest.py PORT WORKERS`, in a folder with model.onnx.

Requests share forwards by its adaptive batching. WORKERS: processes that score beside the server's (its setting
`parallel_workers`); with 0 the server scores itself. It is measured with both. uvloop is pinned to 0.21.0: with
0.22.1 each worker of MLServer 1.7.1 dies at its start, since it asks for an event loop where there is none yet.
"""

import json
import os
import sys
from pathlib import Path

import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

MAX_BATCH, BATCH_S = 64, 0.002
SETTINGS = {
    "debug": False,
    "host": "127.0.0.1",
    "gzip_enabled": False,
    "metrics_endpoint": None,
}


class Network(MLModel):
    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = Path(__file__).with_name("model.onnx")
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feed = {part.name: NumpyCodec.decode_input(part) for part in payload.inputs}
        (logits,) = self._session.run(None, feed)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits)])


def prepare(**settings: object) -> None:
    """Writes its two settings files into this folder, and this file as the runtime that they name."""
    model = {
        "name": "network",
        "implementation": "network.Network",
        "max_batch_size": MAX_BATCH,
        "max_batch_time": BATCH_S,
    }
    Path("settings.json").write_text(json.dumps(SETTINGS | settings))
    Path("model-settings.json").write_text(json.dumps(model))
    Path("network.py").write_text(Path(__file__).read_text())


def main() -> None:
    port, workers = map(int, sys.argv[1:])
    prepare(http_port=port, grpc_port=port + 1, metrics_port=port + 2, parallel_workers=workers)
    server = Path(sys.executable).with_name("mlserver")
    os.execv(server, [str(server), "start", "."])


if __name__ == "__main__":
    main()
