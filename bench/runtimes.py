"""The inference engines that are compared, each as functions that score a chunk of loans."""

import loanloop_common.scoring  # noqa: F401 - first: with it, OpenVINO does not report to its makers

# isort: split
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import openvino
import torch
from loanloop_common.features import EncodedBatch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch._inductor import aoti_compile_and_package, aoti_load_package

from bench.workload import encoded

CHUNK = 128

Logits = npt.NDArray[np.float32]
Run = Callable[[EncodedBatch], Logits]


def each(make: Callable[[], Run]) -> Callable[[int], list[Run]]:
    return lambda workers: [make() for _ in range(workers)]


def onnxruntime_of(model: bytes, *, shared: bool = False, **settings: Any) -> Callable[[int], list[Run]]:
    """A session a worker; `shared`: one session, whose threads share the work in each operator."""

    def make(threads: int) -> Run:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        for name, value in settings.items():
            setattr(options, name, value)
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        def run(batch: EncodedBatch) -> Logits:
            n_rows = len(batch.x_cat)  # a batch of one takes another kernel, 1e-7 off
            return session.run(None, filled(batch, max(2, n_rows))._asdict())[0][:n_rows]  # type: ignore[no-any-return]

        return run

    return lambda workers: [make(workers)] if shared else [make(1) for _ in range(workers)]


def openvino_of(
    model: bytes, *, precision: str = "f32", rows: int = CHUNK, shared: bool = False
) -> Callable[[int], list[Run]]:
    """Compiled for `rows` rows; a smaller chunk is filled up. One stream a worker, on whichever core is free; `shared`:
    one stream, whose threads share the work in each operator.
    """

    def make(workers: int) -> list[Run]:
        core = openvino.Core()
        network = core.read_model(model, b"")
        network.reshape({part.any_name: [rows, part.partial_shape[1].get_length()] for part in network.inputs})
        streams = 1 if shared else workers
        settings = {"INFERENCE_NUM_THREADS": workers, "NUM_STREAMS": streams, "ENABLE_CPU_PINNING": False}
        compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": precision, **settings})
        return [run_of(compiled.create_infer_request()) for _ in range(streams)]

    def run_of(request: Any) -> Run:
        def run(batch: EncodedBatch) -> Logits:
            n_rows = len(batch.x_cat)
            request.infer(filled(batch, rows)._asdict(), share_inputs=True)
            logits: Logits = request.get_output_tensor(0).data[:n_rows].copy()
            return logits

        return run

    return make


def filled(batch: EncodedBatch, rows: int) -> EncodedBatch:
    n_rows = len(batch.x_cat)
    return batch if n_rows == rows else batch.rows(np.minimum(np.arange(rows), n_rows - 1))


def torch_of(module: Callable[..., torch.Tensor]) -> Callable[[int], list[Run]]:
    def make() -> Run:
        def run(batch: EncodedBatch) -> Logits:
            with torch.inference_mode():
                logits: Logits = module(*map(torch.from_numpy, batch)).numpy()
                return logits

        return run

    return each(make)


def inductor_of(module: torch.nn.Module) -> Callable[[int], list[Run]]:
    """torch.compile: C++ that Inductor writes for these shapes, compiled by the machine's compiler."""

    def make() -> Run:
        compiled = torch.compile(module, dynamic=False)
        (run,) = torch_of(compiled)(1)
        return lambda batch: run(filled(batch, CHUNK))[: len(batch.x_cat)]

    return each(make)


def aot_inductor_of(module: torch.nn.Module) -> Callable[[int], list[Run]]:
    """AOTInductor: the same C++, compiled ahead into a package that runs without Python."""

    def make(workers: int) -> list[Run]:
        example = tuple(map(torch.from_numpy, encoded().rows(slice(0, CHUNK))))
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            exported = torch.export.export(module, example)
            package = aoti_compile_and_package(exported, package_path=f"{folder}/network.pt2")
            return [run_of(aoti_load_package(package)) for _ in range(workers)]

    def run_of(loaded: Any) -> Run:
        (run,) = torch_of(loaded)(1)
        return lambda batch: run(filled(batch, CHUNK))[: len(batch.x_cat)]

    return make


def quantized(model: bytes) -> bytes:
    """Weights as int8, activations quantized as they come."""
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        plain.write_bytes(model)
        logging.getLogger().setLevel(logging.ERROR)
        quantize_dynamic(plain, small, weight_type=QuantType.QInt8)
        return small.read_bytes()
