"""BentoML with the ONNX file: `python bentoml_rest.py PORT`, in a folder with model.onnx.

A worker on each core, as its guide recommends for work that computes; requests share forwards by adaptive batching.
"""

import os
import shutil
import sys
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime as ort

CORES = len(os.sched_getaffinity(0))


@bentoml.service(workers=CORES, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Network:
    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = Path(__file__).with_name("model.onnx")
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        shapes = {part.name: part.shape[1] for part in self._session.get_inputs()}
        self._n_cat, self._n_num = shapes["x_cat"], shapes["x_num"]

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Rows of x_cat, x_num and x_exact, one behind the other: a batchable endpoint has one input."""
        x_cat, x_num, x_exact = np.split(rows, [self._n_cat, self._n_cat + self._n_num], axis=1)
        feed = {
            "x_cat": x_cat.astype(np.int64),
            "x_num": x_num.astype(np.float32),
            "x_exact": x_exact.astype(np.int64),
        }
        (logits,) = self._session.run(None, feed)
        return logits


def main() -> None:
    shutil.copy(__file__, "service.py")
    server = Path(sys.executable).with_name("bentoml")
    os.execv(server, [str(server), "serve", "service:Network", "--host", "127.0.0.1", "--port", sys.argv[1]])


if __name__ == "__main__":
    main()
