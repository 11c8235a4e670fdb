"""The loans of a training as arrays: the older ones to learn from, the newest held out to choose by."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from loanloop_common.features import EncodedBatch, Encoder
from loanloop_common.portfolio import Portfolio
from torch import Tensor

from loanloop_trainer.domain.recency import Weights, recency_weights
from loanloop_trainer.domain.split import Mask, split_by_day
from loanloop_trainer.model.data import TrainingData
from loanloop_trainer.model.encoding import fit_encoder

Inputs = tuple[Tensor, Tensor, Tensor]  # x_cat, x_num and x_exact


@dataclass(frozen=True)
class LabelledLoans:
    """`weights`: (B,) what each counts beside the others."""

    inputs: EncodedBatch
    defaulted: Mask
    weights: Weights

    def __len__(self) -> int:
        return len(self.defaulted)

    def rows(self, chosen: slice) -> "LabelledLoans":
        """A view."""
        return LabelledLoans(self.inputs.rows(chosen), self.defaulted[chosen], self.weights[chosen])


@dataclass(frozen=True)
class EncodedLoans:
    """By an encoder that saw only the `older` ones. The `newer` are held out to choose by; pretraining alone sees
    `unlabelled`, perhaps no rows at all.
    """

    encoder: Encoder
    labelled: LabelledLoans  # the older ones first
    n_older: int
    unlabelled: EncodedBatch

    @property
    def older(self) -> LabelledLoans:
        return self.labelled.rows(slice(0, self.n_older))

    @property
    def newer(self) -> LabelledLoans:
        return self.labelled.rows(slice(self.n_older, None))

    @property
    def to_pretrain(self) -> EncodedBatch:
        older = self.older.inputs
        return older.followed_by(self.unlabelled) if len(self.unlabelled.x_cat) else older

    def fingerprint(self, portfolio: Portfolio, seed: int) -> str:
        """Of a run on them: a checkpoint of another one is not gone on from."""
        settings = portfolio.model.model_dump_json()
        said = hashlib.sha256(f"{seed} {self.n_older} {portfolio.schema_hash} {settings}".encode())
        for part in (*self.labelled.inputs, self.labelled.defaulted, self.labelled.weights, *self.unlabelled):
            said.update(np.ascontiguousarray(part).data)
        return said.hexdigest()


def encoded_loans(data: TrainingData, portfolio: Portfolio) -> EncodedLoans:
    """Raises TooFewDays."""
    split = split_by_day(data.occurred_at, validation_share=portfolio.model.validation_share)
    encoder = fit_encoder(portfolio, data.rows(split.train).columns)
    order = np.argsort(split.validation, kind="stable")
    inputs = encoder.encode_columns(data.columns).rows(order)
    weights = recency_weights(data.occurred_at, portfolio.model.half_life_days)
    unlabelled = inputs.rows(slice(0, 0)) if data.unlabelled is None else encoder.encode_columns(data.unlabelled)
    labelled = LabelledLoans(inputs, data.defaulted[order], weights[order])
    return EncodedLoans(encoder, labelled, int(split.train.sum()), unlabelled)


def inputs_of(batch: EncodedBatch, device: torch.device) -> Inputs:
    x_cat, x_num, x_exact = (torch.from_numpy(part).to(device) for part in batch)
    return x_cat, x_num, x_exact


def rows_of(inputs: Inputs, rows: Tensor) -> Inputs:
    x_cat, x_num, x_exact = inputs
    return x_cat[rows], x_num[rows], x_exact[rows]
