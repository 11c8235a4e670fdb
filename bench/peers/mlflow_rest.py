"""`mlflow models serve` of the ONNX file: `python mlflow_rest.py PORT`, in a folder with model.onnx.

A worker on each core, each session on one thread. Saved without a signature, whose checks would cost it time.
"""

import os
import sys
from pathlib import Path

import mlflow
import onnx

CORES = len(os.sched_getaffinity(0))


def main() -> None:
    mlflow.onnx.save_model(
        onnx.load("model.onnx"),
        "saved",
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
        pip_requirements=[],
    )
    server = str(Path(sys.executable).with_name("mlflow"))
    serve = ["models", "serve", "--model-uri", "saved", "--env-manager", "local", "--workers", str(CORES)]
    os.execv(server, [server, *serve, "--host", "127.0.0.1", "--port", sys.argv[1]])


if __name__ == "__main__":
    main()
