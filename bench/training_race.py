"""Rows a second of the shipped training, of plain eager loops and of peers, on the same loans in the same run."""

import asyncio
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loanloop_trainer.model import Hooks, Progress, TrainedModel, TrainingData, train
from loanloop_trainer.model.encoding import fit_encoder
from loanloop_trainer.model.learning import inputs_of
from loanloop_trainer.runner.following import together
from loanloop_trainer.runner.orders import Orders
from loanloop_trainer.runner.training import unless_lost
from sklearn.metrics import roc_auc_score

from bench.eager import learn_eagerly
from bench.machine import cores
from bench.peers import PeerUnavailable, environment, program
from bench.training_loans import portfolio

EAGER_WITHIN_S = 45.0
Row = dict[str, Any]


@dataclass
class Speeds:
    """The newest rows a second of each phase, validation after each epoch included."""

    of: dict[str, float]

    def __call__(self, progress: Progress) -> None:
        if progress.rows_per_s is not None:
            self.of[progress.phase] = progress.rows_per_s


def shipped(data: TrainingData, *, processes: int, threads: int, seed: int, **model: Any) -> tuple[Row, TrainedModel]:
    """A training as the trainer's child does it; `processes` learn together, with so many threads each."""
    speeds = Speeds({})
    trained = asyncio.run(_trained(data, processes, threads, seed, speeds, model))
    what = f"loanloop, {processes} x {threads}"
    row = {
        "what": what, "rows_per_s": speeds.of["train"], "pretraining_rows_per_s": speeds.of.get("pretrain"),
        "roc_auc": trained.metrics["roc_auc"],
    }  # fmt: skip
    return row, trained


async def _trained(
    data: TrainingData, processes: int, threads: int, seed: int, speeds: Speeds, model: dict[str, Any]
) -> TrainedModel:
    orders = Orders(
        parent_pid=os.getpid(),
        owner="bench",
        portfolio="",
        dsn="",
        read_only_dsn=None,
        processes=processes,
        threads=threads,
        niceness=0,
        checkpoint_every_s=5,
        log_format="json",
        log_level="WARNING",
    )
    hooks = Hooks(on_progress=speeds)
    async with together(orders) as group:
        learning = asyncio.to_thread(
            train, data, portfolio(**model), seed=seed, threads=threads, hooks=hooks, ranks=group.ranks
        )
        return await unless_lost(learning, group)


@dataclass(frozen=True)
class Split:
    """The loans as the shipped training divides and encodes them."""

    older: TrainingData
    newer: TrainingData

    def encoded(self) -> tuple[Any, Any, Any]:
        encoder = fit_encoder(portfolio(), self.older.columns)
        return encoder, encoder.encode_columns(self.older.columns), encoder.encode_columns(self.newer.columns)


def eager(split: Split, *, threads: int, seed: int, **model: Any) -> Row:
    """A plain loop, and its ROC-AUC on the held-out loans after as many steps; None where the time was over first."""
    encoder, older, newer = split.encoded()
    config, labels = portfolio(**model).model, torch.from_numpy(split.older.defaulted.astype(np.int64))
    inputs = inputs_of(older, torch.device("cpu"))
    learnt = learn_eagerly(encoder, config, inputs, labels, threads=threads, seed=seed, within_s=EAGER_WITHIN_S)
    auc = None
    if learnt.complete:
        with torch.no_grad():
            logits = learnt.network.eval()(*inputs_of(newer, torch.device("cpu")))
        auc = float(roc_auc_score(split.newer.defaulted, (logits[:, 1] - logits[:, 0]).numpy()))
    return {"what": f"eager loop, {threads} threads", "rows_per_s": learnt.rows_per_s, "roc_auc": auc}


def peer(name: str, split: Split, say: Any, *, seconds: float, same_tokens: bool) -> Row:
    """The better of one thread and all. With `same_tokens` numbers are categories besides, as long a sequence."""
    what = f"{name}, {'as many tokens' if same_tokens else 'categories alone are tokens'}"
    try:
        python = environment(name, say)
        speeds = {n: _peer_rows_per_s(python, name, split, n, seconds, same_tokens) for n in {1, cores()}}
    except (PeerUnavailable, subprocess.SubprocessError) as missing:
        return {"what": what, "rows_per_s": None, "note": str(missing)[:200]}
    threads = max(speeds, key=lambda n: speeds[n])
    return {"what": f"{what}, {threads} threads", "rows_per_s": speeds[threads]}


def _peer_rows_per_s(python: Path, name: str, split: Split, threads: int, seconds: float, same_tokens: bool) -> float:
    encoder, older, _ = split.encoded()
    model = portfolio().model
    with tempfile.TemporaryDirectory(prefix="loanloop-bench-") as folder:
        file = Path(folder) / "loans.npz"
        parts = [*encoder.categories, *(encoder.numbers if same_tokens else ())]
        np.savez(
            file,
            categories=np.concatenate([older.x_cat, older.x_exact], axis=1) if same_tokens else older.x_cat,
            numbers=older.x_num,
            labels=split.older.defaulted,
            n_ids=np.array([part.n_ids for part in parts]),
        )
        given = {
            **model.model_dump(include={"d_model", "n_layers", "n_heads", "d_feedforward", "dropout", "batch_size"}),
            "learning_rate": 1e-3, "threads": threads, "seed": 1, "seconds": seconds,
        }  # fmt: skip
        # -P: the program is called as the package it imports.
        command = [str(python), "-P", str(program(name)), str(file), json.dumps(given)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, cwd=folder)
    return float(json.loads(ended.stdout.splitlines()[-1])["rows_per_s"])
