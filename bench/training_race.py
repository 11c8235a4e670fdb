"""Rows a second of the shipped training, of plain eager loops and of peers, on the same loans in the same run."""

import asyncio
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loanloop_common.errors import in_one_line
from loanloop_common.features import Encoder
from loanloop_trainer.domain.split import split_by_day
from loanloop_trainer.model import Hooks, Progress, TrainedModel, TrainingData, train
from loanloop_trainer.model.encoding import fit_encoder
from loanloop_trainer.model.loans import inputs_of
from loanloop_trainer.runner.following import together
from loanloop_trainer.runner.orders import Orders
from loanloop_trainer.runner.training import unless_lost

from bench.child_process import NoFigures, figures_of
from bench.eager import Encoded, learn_eagerly
from bench.peers import PeerUnavailable, environment, program
from bench.result import Row
from bench.training_loans import portfolio

EAGER_WITHIN_S = 45.0
PEER_WITHIN_S = 300.0
NOTE_LENGTH = 200


@dataclass
class Speeds:
    """The newest rows a second of each phase, validation after each epoch included."""

    of: dict[str, float]

    def __call__(self, progress: Progress) -> None:
        if progress.rows_per_s is not None:
            self.of[progress.phase] = progress.rows_per_s


def shipped(data: TrainingData, *, processes: int, threads: int, seed: int, **model: Any) -> Row:
    """A training as the trainer's child does it; `processes` learn together, with so many threads each."""
    speeds = Speeds({})
    trained = asyncio.run(_trained(data, processes, threads, seed, speeds, model))
    return {
        "what": f"loanloop, {processes} x {threads}",
        "rows_per_s": speeds.of["train"],
        "pretraining_rows_per_s": speeds.of.get("pretrain"),
        "roc_auc": trained.metrics["roc_auc"],
    }


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
        stalls_after_s=600,
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
class Parts:
    """The loans as the shipped training divides and encodes them."""

    older: TrainingData
    newer: TrainingData

    def encoded(self) -> tuple[Encoded, Encoded]:
        encoder = fit_encoder(portfolio(), self.older.columns)
        return _encoded(encoder, self.older), _encoded(encoder, self.newer)


def _encoded(encoder: Encoder, data: TrainingData) -> Encoded:
    inputs = inputs_of(encoder.encode_columns(data.columns), torch.device("cpu"))
    return Encoded(encoder, inputs, torch.from_numpy(data.defaulted.astype(np.int64)))


def parts_of(data: TrainingData) -> Parts:
    split = split_by_day(data.occurred_at, validation_share=portfolio().model.validation_share)
    return Parts(data.rows(split.train), data.rows(split.validation))


def eager(parts: Parts, *, threads: int, seed: int, **model: Any) -> Row:
    """A plain loop, with as many steps and as many validations."""
    config = portfolio(**model).model
    learnt = learn_eagerly(*parts.encoded(), config, threads=threads, seed=seed, within_s=EAGER_WITHIN_S)
    return {"what": f"eager loop, {threads} threads", "rows_per_s": learnt.rows_per_s, "roc_auc": learnt.roc_auc}


@dataclass(frozen=True)
class Peer:
    """With `same_tokens` numbers are categories besides, as long a sequence."""

    name: str
    same_tokens: bool

    def __str__(self) -> str:
        return f"{self.name}, {'as many tokens' if self.same_tokens else 'categories alone are tokens'}"


def peer(one: Peer, parts: Parts, say: Any, *, threads: int, seed: int, seconds: float) -> Row:
    row = {"what": f"{one}, {threads} threads", "peer": str(one)}
    try:
        python = environment(one.name, say)
        return {**row, "rows_per_s": _peer_rows_per_s(python, one, parts, threads, seed, seconds)}
    except (PeerUnavailable, NoFigures) as missing:
        return {**row, "rows_per_s": None, "note": note_of(missing)}


def note_of(missing: Exception) -> str:
    """Short enough for a table: its beginning says what there is not, its end why."""
    said = in_one_line(missing)
    return said if len(said) <= NOTE_LENGTH else f"{said[:60]} … {said[63 - NOTE_LENGTH :]}"


def _peer_rows_per_s(python: Path, one: Peer, parts: Parts, threads: int, seed: int, seconds: float) -> float:
    older, _ = parts.encoded()
    encoder, (x_cat, x_num, x_exact) = older.encoder, older.inputs
    model = portfolio().model
    with tempfile.TemporaryDirectory(prefix="loanloop-bench-") as folder:
        file = Path(folder) / "loans.npz"
        n_ids = [part.n_ids for part in encoder.categories]
        n_ids += [part.n_ids for part in encoder.numbers] if one.same_tokens else []
        np.savez(
            file,
            categories=torch.cat([x_cat, x_exact], dim=1).numpy() if one.same_tokens else x_cat.numpy(),
            numbers=x_num.numpy(),
            labels=parts.older.defaulted,
            n_ids=np.array(n_ids),
        )
        given = {
            **model.model_dump(include={"d_model", "n_layers", "n_heads", "d_feedforward", "dropout", "batch_size"}),
            "learning_rate": 1e-3, "threads": threads, "seed": seed, "seconds": seconds,
        }  # fmt: skip
        # -P: the program is called as the package it imports.
        command = [str(python), "-P", str(program(one.name)), str(file), json.dumps(given)]
        return float(figures_of(command, within_s=PEER_WITHIN_S, folder=Path(folder))["rows_per_s"])
