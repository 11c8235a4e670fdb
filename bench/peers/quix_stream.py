"""A Quix Streams application that scores with the ONNX file: `python quix_stream.py BOOTSTRAP INPUT OUTPUT`.

One for each core. It hands on one loan at a time: what it has for several needs a key that they share.
"""

import sys
from typing import Any

import numpy as np
import onnxruntime as ort
from quixstreams import Application


def main() -> None:
    bootstrap, source, target = sys.argv[1:]
    app = Application(
        broker_address=bootstrap, consumer_group="bench-quix", auto_offset_reset="earliest", loglevel="WARNING"
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])

    def score(loan: dict[str, Any]) -> dict[str, Any]:
        feed = {
            "x_cat": np.array([loan["x_cat"]], np.int64),
            "x_num": np.array([loan["x_num"]], np.float32),
            "x_exact": np.array([loan["x_exact"]], np.int64),
        }
        (logits,) = session.run(None, feed)
        return {"loan_id": loan["loan_id"], "logits": logits[0].tolist()}

    loans = app.dataframe(app.topic(source, value_deserializer="json"))
    loans.apply(score).to_topic(app.topic(target, value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main()
