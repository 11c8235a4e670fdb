"""The phases of learning: pretraining without labels, the classifier with early stopping, and again with all loans."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from loanloop_common.features import UNKNOWN, EncodedBatch, Floats
from loanloop_common.portfolio import ModelConfig
from sklearn.metrics import roc_auc_score
from torch import Generator, Tensor, nn
from torch.nn import functional

from loanloop_trainer.domain.split import Mask
from loanloop_trainer.model.checkpoint import copied
from loanloop_trainer.model.learning import Learner, Objective
from loanloop_trainer.model.loans import EncodedLoans, Inputs, LabelledLoans, inputs_of
from loanloop_trainer.model.pretraining import nt_xent, projected_views
from loanloop_trainer.model.progress import Meter, OnProgress
from loanloop_trainer.model.schedule import one_cycle, steps_per_epoch
from loanloop_trainer.model.tabtransformer import TabTransformer
from loanloop_trainer.model.workers import Workers

EVALUATION_ROWS = 512
NO_DISCRIMINATION = 0.5

OnEpoch = Callable[[int, float], None]  # its number from 1, and how well it ranked the held-out loans


def pretrain(learner: Learner, loans: EncodedBatch, on_progress: OnProgress) -> None:
    config = learner.config
    n_steps = steps_per_epoch(len(loans.x_cat), config.pretrain_batch_size) * config.pretrain_epochs
    meter = Meter("pretrain", on_progress, epochs=config.pretrain_epochs, steps=n_steps, first=learner.position.step)
    learner.start(contrastive(learner, loans))
    for step, rows in learner.steps(config.pretrain_batch_size, config.pretrain_epochs):
        learning_rate = one_cycle(step, n_steps, config.pretrain_learning_rate)
        loss = learner.learn(step, rows, learning_rate=learning_rate)
        meter.advance(step=step, rows=len(rows), loss=loss)
        learner.advance(step)


def contrastive(learner: Learner, loans: EncodedBatch) -> Objective:
    config = learner.config

    def forward(part: Inputs, generator: Generator) -> Tensor:
        return projected_views(
            learner.network, learner.projection, part, mask_share=config.mask_share, generator=generator
        )

    def loss(views: Tensor, _rows: Tensor) -> Tensor:
        return nt_xent(views[:, 0], views[:, 1], config.temperature)

    return Objective(inputs_of(loans, learner.device), forward, loss)


def fine_tune(learner: Learner, loans: EncodedLoans, on_progress: OnProgress, on_epoch: OnEpoch) -> None:
    """Leaves the network with the weights of the epoch that ranked the newer loans best."""
    newer, patience = loans.newer, learner.config.patience

    def judge(epoch: int) -> bool:
        score = roc_auc(learner.network, newer.inputs, newer.defaulted, learner.workers)
        _remember_best(learner, score, epoch)
        on_epoch(epoch, score)
        return learner.position.stale_epochs < patience

    if learner.position.stale_epochs < patience:  # resumed, it may have ended
        plan = Plan.of(loans.n_older, len(loans.older), learner.config)
        meter = Meter("train", on_progress, epochs=plan.epochs, steps=plan.steps, first=learner.position.step)
        _classify(learner, loans.older, plan, meter, epochs=plan.epochs, goes_on=judge)
    learner.network.load_state_dict(learner.best)


def refit(learner: Learner, loans: EncodedLoans, on_progress: OnProgress) -> None:
    """Learns again as `fine_tune` did, at the same rates and for as many epochs as were best there, from all loans.

    The newest say most of what comes (docs/decisions/0058). Nothing is left to judge the network by that comes of it.
    """
    if learner.position.step == 0:
        learner.network.load_state_dict(learner.pretrained)
    plan, epochs = Plan.of(loans.n_older, len(loans.labelled), learner.config), learner.position.best_epoch
    steps = plan.per_epoch * epochs
    meter = Meter("refit", on_progress, epochs=epochs, steps=steps, first=learner.position.step)
    _classify(learner, loans.labelled, plan, meter, epochs=epochs, goes_on=lambda _epoch: True)


@dataclass(frozen=True)
class Plan:
    """How often the classifier may learn from its loans; the learning rate follows all `steps`, taken or not."""

    n_passes: int  # of an epoch
    per_epoch: int  # steps
    epochs: int

    @classmethod
    def of(cls, n_older: int, n_loans: int, config: ModelConfig) -> "Plan":
        """An epoch passes the loans as often as one of the older loans alone does: what is best there counts in it."""
        per_pass_of_older = steps_per_epoch(n_older, config.batch_size)
        n_passes = passes_per_epoch(per_pass_of_older, epochs=config.epochs, min_steps=config.min_steps)
        return cls(n_passes, steps_per_epoch(n_loans, config.batch_size) * n_passes, config.epochs)

    @property
    def steps(self) -> int:
        return self.per_epoch * self.epochs


def _classify(
    learner: Learner, loans: LabelledLoans, plan: Plan, meter: Meter, *, epochs: int, goes_on: Callable[[int], bool]
) -> None:
    """`goes_on` is asked after each of the epochs."""
    config = learner.config
    learner.start(classification(learner, loans))
    for step, rows in learner.steps(config.batch_size, epochs * plan.n_passes):
        learning_rate = one_cycle(step, plan.steps, config.learning_rate)
        loss = learner.learn(step, rows, learning_rate=learning_rate)
        over = step % plan.per_epoch == 0 and not goes_on(step // plan.per_epoch)
        meter.advance(step=step, rows=len(rows), loss=loss, validation_roc_auc=learner.position.best_score)
        learner.advance(step)
        if over:
            break


def classification(learner: Learner, loans: LabelledLoans) -> Objective:
    config = learner.config
    labels = torch.from_numpy(loans.defaulted.astype(np.int64))
    weights = torch.from_numpy(loans.weights / loans.weights.mean())
    if config.class_weights:  # on the CPU: a GPU has no bincount that sums in one order
        weights = weights * class_weights(labels, weights)[labels]
    labels, weights = labels.to(learner.device), weights.to(learner.device)

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        return weighted_loss(logits, labels[rows], weights[rows])

    forward = partial(_classified, learner.network, config.unknown_share)
    return Objective(inputs_of(loans.inputs, learner.device), forward, loss)


def passes_per_epoch(per_pass: int, *, epochs: int, min_steps: int) -> int:
    """So many that all epochs have `min_steps` steps: few loans make few batches, and too few steps learn nothing."""
    return max(1, math.ceil(min_steps / (per_pass * epochs)))


def _classified(network: TabTransformer, unknown_share: float, loans: Inputs, generator: Generator) -> Tensor:
    logits: Tensor = network(*with_unknown(loans, unknown_share, generator), generator)
    return logits


def with_unknown(loans: Inputs, share: float, generator: Generator) -> Inputs:
    """A random share of the values as if they had never been seen; a number keeps its size."""
    x_cat, x_num, x_exact = loans
    if share == 0:
        return loans
    hidden_cat = torch.rand(x_cat.shape, device=x_cat.device, generator=generator) < share
    hidden_exact = torch.rand(x_exact.shape, device=x_exact.device, generator=generator) < share
    return x_cat.masked_fill(hidden_cat, UNKNOWN), x_num, x_exact.masked_fill(hidden_exact, UNKNOWN)


def _remember_best(learner: Learner, score: float, epoch: int) -> None:
    best = learner.position.best_score
    if best is None or score >= best:
        learner.best = copied(learner.network)
        learner.position = replace(learner.position, best_score=score, best_epoch=epoch, stale_epochs=0)
    else:
        learner.position = replace(learner.position, stale_epochs=learner.position.stale_epochs + 1)


def weighted_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of (B, 2) logits. `weights` are 1 on average over all loans, not over those of each batch."""
    return (functional.cross_entropy(logits, labels, reduction="none") * weights).mean()


def class_weights(labels: Tensor, weights: Tensor) -> Tensor:
    """(2,) Beside the loans' own `weights`, both classes weigh alike in the sum of losses."""
    totals = torch.bincount(labels, weights, minlength=2)
    return weights.sum() / (2.0 * totals.clamp(min=1e-9))


def roc_auc(network: TabTransformer, loans: EncodedBatch, defaulted: Mask, workers: Workers) -> float:
    if defaulted.all() or not defaulted.any():
        return NO_DISCRIMINATION
    scores = log_odds(network, loans, workers)
    score = float(roc_auc_score(defaulted, scores)) if np.isfinite(scores).all() else NO_DISCRIMINATION
    return workers.ranks.as_first_says(score)  # all of them stop at the same epoch


def log_odds(network: TabTransformer, loans: EncodedBatch, workers: Workers) -> Floats:
    """(B,) of default, before calibration; each process computes its share of the loans."""
    device = next(network.parameters()).device

    @torch.no_grad()
    def logits_of(part: EncodedBatch) -> Tensor:
        logits: Tensor = network(*inputs_of(part, device))
        return logits

    parts = [loans.rows(slice(i, i + EVALUATION_ROWS)) for i in range(0, len(loans.x_cat), EVALUATION_ROWS)]
    own = parts[workers.ranks.share_of(len(parts))] or [loans.rows(slice(0, 0))]
    sizes = [len(part.x_cat) for part in parts]
    with evaluating(network):
        computed = torch.cat(workers.map(logits_of, own))
    logits = workers.ranks.gathered(computed, sizes).double()
    difference: Floats = (logits[:, 1] - logits[:, 0]).cpu().numpy()
    return difference


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Nothing drops out meanwhile."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
