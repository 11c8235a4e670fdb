"""Scores loans with a bundle on OpenVINO, which no service imports but by this (docs/decisions/0035).

The same loan and version give the same bits whatever the batch and the threads, on the same `engine()`.
"""

import math
import platform
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

sys.modules["openvino_telemetry"] = cast("ModuleType", None)  # with it, the next import reports itself to its makers
import openvino

from loanloop_common.bundle import OF_CONTENT, Bundle
from loanloop_common.errors import BundleCorrupt, LoanloopError, Unavailable
from loanloop_common.features import EncodedBatch, Encoder, Floats

CHUNK_ROWS = 64  # 16 to 128 rows stay in the cache
FEW_ROWS = 8  # for a lone request, and for what is left of a batch
ELSEWHERE_TOLERANCE = 1e-6  # between instruction sets; within one, bits are equal
MAX_TENSOR_BYTES = 2**30  # of what a graph computes for a chunk
# The runtime has one class of error for everything. Its own begin so; these are of the moment, whoever raises them.
_OWN = "Exception from"
_OF_THE_MOMENT = ("bad_alloc", "allocate", "temporarily unavailable", "Too many open files")
# OpenVINO's Python binding makes static objects at its first use, for which it lets go of Python's lock: two threads
# that use it for the first time wait for each other for ever (seen with 2026.4.1). After one use there is none to make.
_FIRST_USE = threading.Lock()
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16", "i8mm")


class Scorer:
    """Thread-safe. A batch of one chunk is scored in the caller's thread; the chunks of a larger one by all threads.

    Batches at the same time take turns, chunk by chunk: a request of REST doesn't wait for a batch of the stream.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        """Raises BundleCorrupt where the model can never be loaded, Unavailable where it can't be for now."""
        self.bundle = bundle
        with _FIRST_USE:
            self._idle = {
                n_rows: _IdleRequests(_compiled(bundle, n_rows, threads), threads) for n_rows in (FEW_ROWS, CHUNK_ROWS)
            }
            self._taken = self._idle[CHUNK_ROWS].inputs()
            self._warm_up()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="scorer")
        self._most_ahead = 2 * threads  # so many chunks of one batch wait for a thread

    def _warm_up(self) -> None:
        try:
            for n_rows in self._idle:
                self._chunk_log_odds(_zeros(self.bundle.encoder, n_rows))
        except Exception as error:
            raise failure(self.bundle, "score at all", error) from error

    def close(self) -> None:
        """Once nothing is scored any more: what is in progress may fail."""
        self._pool.shutdown()

    def score_features(self, features: Sequence[Any]) -> Floats:
        """Probability of default (B,) of feature structs, as LoanCodec decodes them."""
        return self.score(self.bundle.encoder.encode_features(features))

    def score(self, batch: EncodedBatch) -> Floats:
        """Probability of default (B,) in float64."""
        return self.bundle.manifest.calibration.probabilities(self.log_odds(batch))

    def log_odds(self, batch: EncodedBatch) -> Floats:
        """Log-odds of default (B,) before calibration."""
        is_small = len(batch.x_cat) <= CHUNK_ROWS
        computed = map(self._chunk_log_odds, _chunks(batch)) if is_small else self._shared_out(_chunks(batch))
        return np.concatenate([np.empty(0), *computed])

    def _shared_out(self, chunks: Iterable[EncodedBatch]) -> Iterator[Floats]:
        """In the order of the chunks, never many of which stand in front of another batch's."""
        ahead: deque[Future[Floats]] = deque()
        for chunk in chunks:
            if len(ahead) == self._most_ahead:
                yield ahead.popleft().result()
            ahead.append(self._pool.submit(self._chunk_log_odds, chunk))
        yield from (one.result() for one in ahead)

    def self_test(self) -> float:
        """Largest difference from the bundle's reference probabilities.

        Raises BundleCorrupt if it is too large or the model can't score them at all, Unavailable if it can't for now.
        """
        reference = self.bundle.manifest.reference
        try:
            worst = float(np.abs(self.score(reference.batch()) - np.array(reference.probabilities)).max())
        except Exception as error:
            raise failure(self.bundle, "score its own reference rows", error) from error
        if not worst <= ELSEWHERE_TOLERANCE:
            raise BundleCorrupt(self.bundle.version, f"scores its reference rows {worst:.2g} off")
        return worst

    def _chunk_log_odds(self, chunk: EncodedBatch) -> Floats:
        n_rows = len(chunk.x_cat)
        size = FEW_ROWS if n_rows <= FEW_ROWS else CHUNK_ROWS
        with self._idle[size].one() as request:
            given = _filled(chunk, size)._asdict()
            request.infer({name: given[name] for name in self._taken}, share_inputs=True)
            logits = request.get_output_tensor(0).data[:n_rows]
            log_odds: Floats = (logits[:, 1] - logits[:, 0]).astype(np.float64)
        return log_odds


class _IdleRequests:
    """A request for each thread that scores just now: the graph's own threads take turns among them."""

    def __init__(self, graph: openvino.CompiledModel, threads: int) -> None:
        self._graph = graph
        self._idle = deque(graph.create_infer_request() for _ in range(threads))

    @contextmanager
    def one(self) -> Iterator[openvino.InferRequest]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._graph.create_infer_request()
        try:
            yield request
        finally:
            self._idle.append(request)

    def inputs(self) -> tuple[str, ...]:
        taken = {name for part in self._graph.inputs for name in part.names}  # an input may have several
        return tuple(name for name in EncodedBatch._fields if name in taken)


def _chunks(batch: EncodedBatch) -> Iterator[EncodedBatch]:
    """Whole chunks, then what is left in fews, as long as that computes fewer rows than another chunk would."""
    n_rows, start = len(batch.x_cat), 0
    while start < n_rows:
        left = n_rows - start
        step = CHUNK_ROWS if left > CHUNK_ROWS - FEW_ROWS else FEW_ROWS
        yield batch.rows(slice(start, start + step))
        start += step


def _filled(chunk: EncodedBatch, n_rows: int) -> EncodedBatch:
    """The last row again and again: the graph is compiled for a fixed number of rows."""
    n_given = len(chunk.x_cat)
    return chunk if n_given == n_rows else chunk.rows(np.minimum(np.arange(n_rows), n_given - 1))


def _zeros(encoder: Encoder, n_rows: int) -> EncodedBatch:
    ids, numbers = (n_rows, len(encoder.categories)), (n_rows, len(encoder.numbers))
    return EncodedBatch(np.zeros(ids, np.int64), np.zeros(numbers, np.float32), np.zeros(numbers, np.int64))


def _compiled(bundle: Bundle, n_rows: int, threads: int) -> openvino.CompiledModel:
    """The graph for `n_rows` rows, for as many at a time as there are threads."""
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # where a processor has bfloat16 it would be taken
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "ENABLE_CPU_PINNING": False,  # two scorers of one process would be pinned to the same core
    }
    try:
        core = openvino.Core()
        network = core.read_model(bundle.model, b"")
        # An input without columns, of a portfolio without numbers, say, is none that the graph takes.
        taken = {name for part in network.inputs for name in part.names}
        network.reshape({name: [n_rows, n] for name, n in _widths(bundle.encoder).items() if n or name in taken})
        _refuse_oversized(network)
        return core.compile_model(network, "CPU", settings)
    except Exception as error:
        raise failure(bundle, "be loaded by OpenVINO", error) from error


def _refuse_oversized(network: openvino.Model) -> None:
    """Before anything is allocated: want of memory would pass for one of the moment, and be tried again for ever."""
    for operation in network.get_ops():
        for output in operation.outputs():
            shape = output.get_partial_shape()
            if shape.is_static and math.prod(shape.to_shape()) * output.get_element_type().size > MAX_TENSOR_BYTES:
                raise ValueError(f"{operation.get_friendly_name()} asks for a tensor of {shape}")


def _widths(encoder: Encoder) -> dict[str, int]:
    n_numbers = len(encoder.numbers)
    return {"x_cat": len(encoder.categories), "x_num": n_numbers, "x_exact": n_numbers}


def failure(bundle: Bundle, what: str, error: Exception) -> LoanloopError:
    """Of the bundle, which then is corrupt, or of the moment."""
    if isinstance(error, LoanloopError):
        return error
    told = " ".join(str(error).split()) or type(error).__name__
    is_of_the_moment = any(words in told for words in _OF_THE_MOMENT)
    if isinstance(error, OF_CONTENT) or (told.startswith(("Check", _OWN)) and not is_of_the_moment):
        return BundleCorrupt(bundle.version, f"can't {what}: {told}")
    return Unavailable(f"bundle {bundle.version} can't {what} for now: {told}")


def runtime_version() -> str:
    return version("openvino")


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
    return f"openvino {runtime_version()} numpy {np.__version__} {instruction_set()}"
