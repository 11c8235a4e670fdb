"""A GPU beside the cores of its machine: rows a second of training and of scoring, and how busy the GPU is.

A step of training is timed captured, as the trainer takes it there (one graph of all operations), and launched (each
operation by itself); in float32 and with mixed precision. Scoring includes the way to the GPU and back.
"""

import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import torch
from loanloop_common.features import EncodedBatch, Floats
from loanloop_common.resources import SAMPLE
from loanloop_trainer.model import Hooks, train
from loanloop_trainer.model.checkpoint import LearningPhase, Position
from loanloop_trainer.model.data import TrainingData
from loanloop_trainer.model.learning import Learner
from loanloop_trainer.model.lesson import Lesson
from loanloop_trainer.model.loans import EncodedLoans, encoded_loans, inputs_of
from loanloop_trainer.model.phases import classification, contrastive
from loanloop_trainer.model.schedule import epoch_order
from loanloop_trainer.model.serving_form import ServingForm
from loanloop_trainer.model.training import learner_of
from loanloop_trainer.model.workers import Workers
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bench.engine_sessions import Served, log_odds, rows_per_s, same_bits
from bench.machine import cores
from bench.registry import Options
from bench.result import Found, Goal, Row
from bench.runtimes import Logits
from bench.training_loans import loans, portfolio
from bench.workload import encoded, make_network

TITLE = "a GPU beside the cores: training and scoring"
SHIPPED = 256
BATCHES = {"classifier": (SHIPPED, 2048, 16_384), "pretraining": (512, 4096)}
SCORED = (1, 64, 512, 2048, 16_384)
CHUNK = 2048
WARM_UP_STEPS = 5
PROFILED_STEPS = 10
COLUMNS = {
    "what": "which phase or engine, and how",
    "mixed_precision": "bf16: matrix products of bfloat16 numbers; off: all is float32",
    "batch": "loans a step or a call",
    "rows_per_s": "loans a second",
    "gpu_busy": "the time that the GPU's kernels take in a step, seen by a profiler, beside a step's time without one",
    "log_odds_error": "the largest difference of a log-odds from the served engine's",
    "same_bits": "whether a loan's score has the same bits in each batch, whatever its size, place and neighbours",
    "validation_roc_auc": "of a whole training, on its newest tenth before that is learnt",
    "seconds": "of a whole training: pretraining, classifier, refit",
}


def run(options: Options) -> Found:
    if not torch.cuda.is_available():
        return found([], None, {"GPU": "none"}, not_judged="torch sees no GPU here")
    seconds, n_loans = (5.0, 150_000) if options.long else (1.5, 50_000)
    data = loans(n_loans, options.loans or SAMPLE)
    rows = training_rows(encoded_loans(data, portfolio()), seconds, options.say)
    speeds = {(row["what"], row["mixed_precision"], row["batch"]): row["rows_per_s"] for row in rows}
    captured, launched = (speeds[f"classifier, {how}", "off", SHIPPED] for how in ("captured", "launched"))
    rows += [whole_training(data, precision, options.say) for precision in ("off", "bf16")]
    rows += scoring_rows(seconds, options.say)
    sizes = {"GPU": torch.cuda.get_device_name(), "loans of a whole training": n_loans, "preset": "sba"}
    return found(rows, captured / launched, sizes)


def found(rows: list[Row], ratio: float | None, sizes: dict[str, Any], not_judged: str | None = None) -> Found:
    goal = Goal(f"rows/s in steps of {SHIPPED} loans, captured / launched", ratio, 2.0, not_judged=not_judged)
    return Found(goals=(goal,), rows=rows, sizes={**sizes, "cores": cores()}, columns=COLUMNS)


def training_rows(data: EncodedLoans, seconds: float, say: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for phase, batches in BATCHES.items():
        for precision in ("off", "bf16"):
            rows += [stepped(data, phase, how, precision, batch, seconds)
                     for batch in batches for how in ("captured", "launched")]  # fmt: skip
        rows.append(stepped(data, phase, "all cores", "off", batches[0], seconds))
    for row in rows:
        say(f"{row['what']}, mixed precision {row['mixed_precision']}, {row['batch']}: {row['rows_per_s']:,.0f} rows/s")
    return rows


def stepped(data: EncodedLoans, phase: str, how: str, precision: str, batch: int, seconds: float) -> Row:
    config = portfolio(mixed_precision=precision).model
    with Workers(device="cpu" if how == "all cores" else "cuda") as workers:
        learner = learner_of(Lesson(data, config, 0, "", None), workers, Hooks(), captures=how == "captured")
        entered: LearningPhase = "pretrain" if phase == "pretraining" else "train"
        learner.enter(Position(phase=entered))
        older = data.older
        learner.start(contrastive(learner, older.inputs) if entered == "pretrain" else classification(learner, older))
        step = Step(learner, batch)
        step_s = step.seconds_within(seconds)
        row = {"what": f"{phase}, {how}", "mixed_precision": precision, "batch": batch, "rows_per_s": batch / step_s}
        return row if how == "all cores" else {**row, "gpu_busy": step.kernel_seconds() / step_s}


class Step:
    """One step after the other, of batches of one size."""

    def __init__(self, learner: Learner, batch: int) -> None:
        order = epoch_order(len(learner.objective), seed=0, epoch=0).to(learner.device)
        self._batches = cycle(torch.split(order[: len(order) // batch * batch], batch))
        self._learner, self._n = learner, 0
        for _ in range(WARM_UP_STEPS):
            self()

    def __call__(self) -> None:
        self._n += 1
        self._learner.learn(self._n, next(self._batches), learning_rate=1e-4)

    def seconds_within(self, seconds: float) -> float:
        """Of a step; so many are taken as fit."""
        n, started = 0, time.perf_counter()
        while (took := time.perf_counter() - started) < seconds:
            self()
            n += 1
        return took / n

    def kernel_seconds(self) -> float:
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            for _ in range(PROFILED_STEPS):
                self()
        kernels = (event for event in seen.key_averages() if not event.is_user_annotation)
        return float(sum(event.self_device_time_total for event in kernels)) / 1e6 / PROFILED_STEPS


def whole_training(data: TrainingData, precision: str, say: Callable[[str], None]) -> Row:
    started = time.perf_counter()
    trained = train(data, portfolio(mixed_precision=precision, refit=True), seed=0)
    row = {
        "what": "whole training", "mixed_precision": precision, "batch": SHIPPED,
        "seconds": time.perf_counter() - started, "validation_roc_auc": trained.metrics["roc_auc"],
    }  # fmt: skip
    say(f"whole training, mixed precision {precision}: {row['seconds']:.1f} s, ROC-AUC {row['validation_roc_auc']:.4f}")
    return row


class OnGpu:
    """The served form on the GPU. Padded, it computes chunks of one size, the last one filled up with any loans."""

    def __init__(self, network: nn.Module, precision: str, *, padded: bool) -> None:
        self._network, self._padded = network.to("cuda").eval(), padded
        self._autocast = torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bf16")

    @torch.inference_mode()
    def __call__(self, batch: EncodedBatch) -> Floats:
        n = len(batch.x_cat)
        if not self._padded:
            return log_odds(self._logits(batch))
        filled = batch.rows(np.arange(-(-n // CHUNK) * CHUNK) % n)
        chunks = [filled.rows(slice(first, first + CHUNK)) for first in range(0, n, CHUNK)]
        return log_odds(np.concatenate([self._logits(chunk) for chunk in chunks])[:n])

    def _logits(self, batch: EncodedBatch) -> Logits:
        with self._autocast:
            logits: Logits = self._network(*inputs_of(batch, torch.device("cuda"))).float().cpu().numpy()
        return logits

    def close(self) -> None:
        """Nothing is kept open."""


def scoring_rows(seconds: float, say: Callable[[str], None]) -> list[Row]:
    sample = encoded()
    asked = sample.rows(np.arange(SCORED[-1]) % len(sample.x_cat))
    served = Served(cores())
    reference = served(sample)
    rows = []
    for padded in (False, True):
        for precision in ("off", "bf16"):
            engine = OnGpu(ServingForm(make_network()), precision, padded=padded)
            told = {
                "what": f"scoring, GPU{f', in chunks of {CHUNK}' if padded else ''}", "mixed_precision": precision,
                "log_odds_error": float(np.abs(engine(sample) - reference).max()),
                "same_bits": same_bits(engine),
            }  # fmt: skip
            rows += [{**told, "batch": n, "rows_per_s": speed(engine, asked, n, seconds)} for n in SCORED]
    told = {"what": "scoring, as served on all cores", "mixed_precision": "off", "same_bits": same_bits(served)}
    rows += [{**told, "batch": n, "rows_per_s": speed(served, asked, n, seconds)} for n in SCORED]
    served.close()
    for row in rows:
        say(f"{row['what']}, mixed precision {row['mixed_precision']}, {row['batch']}: {row['rows_per_s']:,.0f} rows/s")
    return rows


def speed(engine: Callable[[EncodedBatch], object], asked: EncodedBatch, n: int, seconds: float) -> float:
    return rows_per_s(engine, asked.rows(slice(0, n)), within_s=seconds / 2)
