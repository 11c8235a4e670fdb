"""Scores loans with a bundle on ONNX Runtime, which nothing else imports.

The same loan and version give the same bits whatever the batch and the threads, on the same `engine()`.
"""

import platform
import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as refusals

from loanloop_common.bundle import Bundle
from loanloop_common.errors import BundleCorrupt, LoanloopError, Unavailable
from loanloop_common.features import EncodedBatch, Floats

CHUNK_ROWS = 128  # 64 to 256 rows stay in the cache
ELSEWHERE_TOLERANCE = 1e-6  # between instruction sets; within one, bits are equal
# What the runtime says of a model's content. Its other errors, such as no memory or no thread, are of the moment.
_OF_THE_MODEL = (
    refusals.InvalidArgument,
    refusals.InvalidGraph,
    refusals.InvalidProtobuf,
    refusals.NoModel,
    refusals.NotImplemented,
)
_MISSHAPEN = (ValueError, TypeError, IndexError)
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16", "i8mm")


class Scorer:
    """Thread-safe. Each thread runs chunks of rows on a session of its own, which itself uses one thread.

    Two such sessions score nearly twice as much as one session with two threads.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        """Raises BundleCorrupt where the model can never be loaded, Unavailable where it can't be for now."""
        self.bundle = bundle
        self._sessions: queue.SimpleQueue[ort.InferenceSession] = queue.SimpleQueue()
        for _ in range(threads):
            self._sessions.put(_session(bundle))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="scorer")

    def close(self) -> None:
        """Lets scores in progress finish."""
        self._pool.shutdown()

    def score_features(self, features: Sequence[Any]) -> Floats:
        """Probability of default (B,) of feature structs, as LoanCodec decodes them."""
        return self.score(self.bundle.encoder.encode_features(features))

    def score(self, batch: EncodedBatch) -> Floats:
        """Probability of default (B,) in float64."""
        return self.bundle.manifest.calibration.probabilities(self.logits(batch))

    def logits(self, batch: EncodedBatch) -> Floats:
        """Log-odds of default (B,) before calibration."""
        n_rows = len(batch.x_cat)
        chunks = [batch.rows(slice(start, start + CHUNK_ROWS)) for start in range(0, n_rows, CHUNK_ROWS)]
        run = self._pool.map if len(chunks) > 1 else map
        return np.concatenate([np.empty(0), *run(self._chunk_logits, chunks)])

    def self_test(self) -> float:
        """Largest difference from the bundle's reference probabilities.

        Raises BundleCorrupt if it is too large or the model can't score them at all, Unavailable if it can't for now.
        """
        reference = self.bundle.manifest.reference
        try:
            difference = np.abs(self.score(reference.batch()) - np.array(reference.probabilities))
        except Exception as error:
            raise _failure(self.bundle, "score its own reference rows", error) from error
        worst = float(difference.max())
        if not worst <= ELSEWHERE_TOLERANCE:
            raise BundleCorrupt(self.bundle.version, f"scores its reference rows {worst:.2g} off")
        return worst

    def _chunk_logits(self, chunk: EncodedBatch) -> Floats:
        n_rows = len(chunk.x_cat)
        if n_rows == 1:
            # A batch of one takes another kernel, 1e-7 off: the bits of a lone row must not differ.
            chunk = chunk.rows([0, 0])
        session = self._sessions.get()
        try:
            (logits,) = session.run(None, chunk._asdict())
        finally:
            self._sessions.put(session)
        log_odds: Floats = (logits[:n_rows, 1] - logits[:n_rows, 0]).astype(np.float64)
        return log_odds


def _session(bundle: Bundle) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _failure(bundle, "be loaded by ONNX Runtime", error) from error


def _failure(bundle: Bundle, what: str, error: Exception) -> LoanloopError:
    # `Fail` is both: a model with an unknown operator, and whatever the runtime caught while it was loading.
    is_of_the_model = isinstance(error, (*_OF_THE_MODEL, *_MISSHAPEN)) or (
        isinstance(error, refusals.Fail) and "Exception during" not in str(error)
    )
    if is_of_the_model:
        return BundleCorrupt(bundle.version, f"can't {what}: {error}")
    return Unavailable(f"bundle {bundle.version} can't {what} for now: {error or type(error).__name__}")


def runtime_version() -> str:
    return str(ort.__version__)


@cache
def instruction_set() -> str:
    """The processor's architecture with the flags that choose between the runtime's kernels."""
    flags: set[str] = set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    return " ".join([platform.machine(), *(flag for flag in _TELLING_FLAGS if flag in flags)])


def engine() -> str:
    """Within one engine the same loan and version give the same bits; stored with each decision.

    NumPy computes the ends of a score: the logarithms of numbers before the network, the logistic function behind it.
    """
    return f"onnxruntime {runtime_version()} numpy {np.__version__} {instruction_set()}"
