"""Rows a second and exactness of inference engines on one network.

Judged is what serves: `Scorer` with a bundle, its chunks and its threads. The limit is the plain form on ONNX Runtime
in the faster of two arrangements: chunks of 128 rows shared by sessions of one thread, one for each core; or the whole
batch in one session of as many threads. Each other engine has the first arrangement unless its name says otherwise.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import onnxruntime as ort
import torch
from loanloop_common.features import Floats
from loanloop_common.scoring import CHUNK_ROWS, FEW_ROWS
from loanloop_trainer.model.exporting import onnx_of
from loanloop_trainer.model.loans import inputs_of
from loanloop_trainer.model.serving_form import ServingForm
from loanloop_trainer.model.tabtransformer import TabTransformer

from bench.eager import EagerTabTransformer
from bench.engine_sessions import Arranged, Engine, Served, Session, rows_per_s, same_bits
from bench.machine import cores
from bench.registry import Options
from bench.result import Found, Goal, Row
from bench.runtimes import (
    CHUNK,
    aot_inductor_of,
    inductor_of,
    onnxruntime_of,
    openvino_of,
    quantized,
    torch_of,
)
from bench.workload import PORTFOLIO, encoded, encoder, make_network

TITLE = "inference engines, the same network"
BATCHES = (1, 64, 512, 2048)
ON_ONE = {size: f"batch_{size}" for size in BATCHES}
ON_ALL = {size: f"all_cores_batch_{size}" for size in BATCHES}
FASTEST = ON_ALL[BATCHES[-1]]
TOLERANCE = 1e-4
SERVED = "as served: Scorer"
LIMIT = "ONNX Runtime, plain form"
LIMITS = (LIMIT, f"{LIMIT}, one session")
_TOLD = 200  # characters of an error in the table; the line of progress has all
COLUMNS = {
    "engine": "what runs the network, and in which form; plain form is the network as it was trained, served form an "
    "equal one that is faster",
    **{name: f"rows a second of batches of {size} rows, on one core" for size, name in ON_ONE.items()},
    **{
        name: f"rows a second of batches of {size} rows on all cores: one session for each core, or one of as many "
        "threads as cores where the name says so"
        for size, name in ON_ALL.items()
    },
    "log_odds_error": "the largest difference of a log-odds from the plain form's on ONNX Runtime",
    "same_bits": "whether a row has the same bits in each batch, whatever its size, the row's place and its neighbours",
    "ratio": f"{FASTEST} beside the limit's, the plain form on ONNX Runtime in the faster of its two arrangements",
    "note": "why an engine has no figures here",
}


def limits_of(plain: bytes) -> list[Engine]:
    """The plain form in both arrangements, of which the faster one here is the limit."""
    each, one = LIMITS
    return [Engine(each, onnxruntime_of(plain)), Engine(one, onnxruntime_of(plain, shared=True), BATCHES[-1])]


def engines(say: Callable[[str], None]) -> list[Engine]:
    """The limits come first."""
    network = make_network()
    example = inputs_of(encoded().rows(slice(0, 4)), torch.device("cpu"))
    say("exporting")
    plain, served = onnx_of(network, example), onnx_of(ServingForm(network), example)
    none = {"graph_optimization_level": ort.GraphOptimizationLevel.ORT_DISABLE_ALL}
    return [
        *limits_of(plain),
        Engine("ONNX Runtime, plain form, no fusion", onnxruntime_of(plain, **none)),
        Engine("ONNX Runtime, served form", onnxruntime_of(served)),
        Engine("ONNX Runtime, served form, no fusion", onnxruntime_of(served, **none)),
        Engine("ONNX Runtime, int8", onnxruntime_of(quantized(served))),
        Engine("OpenVINO, plain form", openvino_of(plain)),
        Engine("OpenVINO, served form", openvino_of(served)),
        Engine("OpenVINO, served form, bf16", openvino_of(served, precision="bf16")),
        Engine("torch eager, plain form", torch_of(network)),
        Engine("torch fast path, plain form", torch_of(fast_path_of(network))),
        Engine("torch eager, served form", torch_of(ServingForm(network).eval())),
        Engine("torch Inductor, served form", inductor_of(ServingForm(network).eval())),
        Engine("torch AOTInductor, served form", aot_inductor_of(ServingForm(network).eval())),
        Engine("ONNX Runtime, served form, one session", onnxruntime_of(served, shared=True), BATCHES[-1]),
        Engine("OpenVINO, served form, one stream", openvino_of(served, shared=True)),
    ]


def fast_path_of(network: TabTransformer) -> EagerTabTransformer:
    """By nn.TransformerEncoderLayer, which takes its fused path where nothing is learnt."""
    same = EagerTabTransformer(encoder(), PORTFOLIO.model).eval()
    same.take_weights_of(network)
    return same


@contextmanager
def quiet_torch() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)


def run(options: Options) -> Found:
    within_s = 5.0 if options.long else 1.0
    with quiet_torch():
        made = engines(options.say)
        reference = Session(made[0], 1)(encoded())
        contestants: dict[str, Callable[[int], Arranged]] = {SERVED: Served}
        contestants |= {engine.name: partial(Session, engine) for engine in made}
        rows = [tried(name, make, reference, within_s, options.say) for name, make in contestants.items()]
    limit = limit_of(rows)
    for row in rows:
        row["ratio"] = row[FASTEST] / limit if FASTEST in row else None
    return Found(
        goals=goals_of(rows),
        rows=rows,
        sizes={
            "rows_a_chunk": CHUNK, "rows_a_chunk_as_served": f"{CHUNK_ROWS} and {FEW_ROWS}", "preset": "sba",
            "tokens": encoded().x_cat.shape[1] + encoded().x_num.shape[1],
        },
        bars=("engine", FASTEST),
        columns=COLUMNS,
        notes=(f"Exact is an engine whose log_odds_error is {TOLERANCE:g} at most and that has same_bits.",),
    )  # fmt: skip


def limit_of(rows: list[Row]) -> float:
    """In the arrangement that is faster here."""
    return max(float(row[FASTEST]) for row in rows if row["engine"] in LIMITS)


def goals_of(rows: list[Row]) -> tuple[Goal, ...]:
    """What serves is judged alone, and has no ratio where it isn't exact."""
    (served,) = (row for row in rows if row["engine"] == SERVED)
    exact = served.get("same_bits") and served["log_odds_error"] <= TOLERANCE
    ratio = served[FASTEST] / limit_of(rows) if exact else None
    return (Goal("rows/s on all cores, as served and exact / plain ONNX Runtime", ratio, 1.0),)


def tried(
    name: str, make: Callable[[int], Arranged], reference: Floats, within_s: float, say: Callable[[str], None]
) -> Row:
    """A row; with the error where an engine fails, which may be a fault of the benchmark too.

    Raises it where there is nothing to judge without: what serves, and the limit's arrangements.
    """
    say(name)
    try:
        return {"engine": name, **measured(make, reference, within_s)}
    except Exception as error:
        if name in (SERVED, *LIMITS):
            raise
        say(f"{name}: {error!r}")
        return {"engine": name, "note": f"does not run here: {repr(error)[:_TOLD]}"}


def measured(make: Callable[[int], Arranged], reference: Floats, within_s: float) -> Row:
    alone, together = make(1), make(cores())
    try:
        error = float(np.abs(alone(encoded()) - reference).max())
        row: Row = {}
        for names, arranged in ((ON_ONE, alone), (ON_ALL, together)):
            for size, name in names.items():
                row[name] = rows_per_s(arranged, encoded().rows(slice(0, size)), within_s=within_s)
        return row | {"log_odds_error": error, "same_bits": same_bits(alone) and same_bits(together)}
    finally:
        alone.close()
        together.close()
