"""A Faust worker that scores with the ONNX file: `python faust_stream.py BOOTSTRAP INPUT OUTPUT`, one for each core.

Loans are taken together as its guide has it (`stream.take`), so that they share forwards.
"""

import sys
from pathlib import Path

import faust
import numpy as np
import onnxruntime as ort

BATCH, WITHIN_S = 128, 0.02


def main() -> None:
    bootstrap, source, target = sys.argv[1:]
    app = faust.App(
        "bench", broker=f"kafka://{bootstrap}", store="memory://", datadir=Path("data"), web_enabled=False,
        topic_disable_leader=True, value_serializer="json",
    )  # fmt: skip
    loans = app.topic(source, key_type=bytes, key_serializer="raw")
    scored = app.topic(target, key_type=bytes, key_serializer="raw")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])

    @app.agent(loans)
    async def score(stream: faust.Stream) -> None:
        async for batch in stream.take(BATCH, within=WITHIN_S):
            feed = {
                "x_cat": np.array([loan["x_cat"] for loan in batch], np.int64),
                "x_num": np.array([loan["x_num"] for loan in batch], np.float32),
                "x_exact": np.array([loan["x_exact"] for loan in batch], np.int64),
            }
            (logits,) = session.run(None, feed)
            for loan, pair in zip(batch, logits.tolist(), strict=True):
                await scored.send(key=loan["loan_id"].encode(), value={"loan_id": loan["loan_id"], "logits": pair})

    app.finalize()
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main()
