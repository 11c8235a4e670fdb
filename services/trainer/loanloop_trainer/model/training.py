"""The training, from frozen loans to a calibrated network: audit, pretrain, train, refit, calibrate."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import structlog
import torch
from loanloop_common.bundle import Calibration
from loanloop_common.features import Encoder, Floats
from loanloop_common.portfolio import ModelConfig, Portfolio

from loanloop_trainer.domain.audit import Finding, audit_features
from loanloop_trainer.domain.blending import best_share
from loanloop_trainer.domain.calibration import fitted_on_validation, validation_metrics
from loanloop_trainer.domain.split import Mask
from loanloop_trainer.model.boosting import best_boosted, boosted, refuse_too_few
from loanloop_trainer.model.checkpoint import CheckpointUnusable, Position, copied
from loanloop_trainer.model.data import TrainingData
from loanloop_trainer.model.ensemble import Ensemble
from loanloop_trainer.model.learning import CHECKPOINT_EVERY_S, Learner, SaveCheckpoint
from loanloop_trainer.model.lesson import Lesson
from loanloop_trainer.model.loans import EncodedLoans, encoded_loans
from loanloop_trainer.model.phases import OnEpoch, fine_tune, log_odds, pretrain, refit
from loanloop_trainer.model.pretraining import Projection
from loanloop_trainer.model.progress import OnProgress, Progress
from loanloop_trainer.model.ranks import ALONE, Ranks
from loanloop_trainer.model.tabtransformer import TabTransformer
from loanloop_trainer.model.trained import HeldOut, TrainedModel
from loanloop_trainer.model.workers import Workers

log = structlog.get_logger()


@dataclass(frozen=True)
class Hooks:
    """Who hears of a training and keeps its checkpoints; `checkpoint` is the one to go on from."""

    on_progress: OnProgress = lambda _: None
    on_audit: Callable[[list[Finding]], None] = lambda _: None
    on_epoch: OnEpoch = lambda _epoch, _score: None
    save_checkpoint: SaveCheckpoint = lambda _: None
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    checkpoint: bytes | None = None


NO_HOOKS = Hooks()


def train(  # its data, and with whom and how it computes
    data: TrainingData,
    portfolio: Portfolio,
    *,
    seed: int,
    threads: int | None = None,
    hooks: Hooks = NO_HOOKS,
    ranks: Ranks = ALONE,
) -> TrainedModel:
    """Deterministic by seed, also across a resumption, on the same machine, packages and numbers of processes and
    threads.

    The newest loans of `data` are held out to stop early, calibrate and choose the threshold, and learnt after that.
    The gate's loans must not be in `data` at all. The other processes of `ranks` must `follow`. Raises TooFewDays, and
    for an ensemble TooFewToBoost.
    """
    hooks.on_progress(Progress("audit"))
    findings = audit(data, portfolio)
    hooks.on_audit(findings)
    loans = encoded_loans(data, portfolio)
    if portfolio.model.kind == "ensemble":
        refuse_too_few(loans.older)
    lesson = Lesson(loans, portfolio.model, seed, loans.fingerprint(portfolio, seed), hooks.checkpoint)
    with ranks.met():
        lesson.tell(ranks)
        with Workers(threads, ranks) as workers:
            learner = _learn(lesson, workers, hooks)
    held_out, ensemble = _judged(learner, loans, portfolio, hooks)
    hooks.on_progress(Progress("calibrate"))
    return _concluded(learner, loans, held_out, ensemble, data=data, portfolio=portfolio, findings=findings)


def follow(ranks: Ranks, *, threads: int | None = None, on_progress: OnProgress = lambda _: None) -> None:
    """The training of the first process, in another one of `ranks`: it learns along and keeps nothing."""
    with ranks.met():
        lesson = Lesson.hear(ranks)
        with Workers(threads, ranks) as workers:
            _learn(lesson, workers, Hooks(on_progress, checkpoint_every_s=math.inf))


def learn_alone(
    data: TrainingData, portfolio: Portfolio, *, seed: int, threads: int | None = None, hooks: Hooks = NO_HOOKS
) -> None:
    """Learns as `train` does and keeps nothing: what comes of it is what `hooks.on_epoch` heard. Raises TooFewDays."""
    config = portfolio.with_model(refit=False).model
    lesson = Lesson(encoded_loans(data, portfolio), config, seed, fingerprint="", checkpoint=None)
    with Workers(threads) as workers:
        _learn(lesson, workers, hooks)


def audit(data: TrainingData, portfolio: Portfolio) -> list[Finding]:
    """Each field of the loans alone, whether the model may see it or not."""
    columns = {name: data.columns[name] for name in portfolio.features if name in data.columns}
    findings = audit_features(columns, data.defaulted, data.occurred_at, numbers=portfolio.numbers)
    for finding in findings:
        if finding.warning is not None:
            used = finding.feature in portfolio.model_inputs
            log.warning(
                "leak_suspected", field=finding.feature, roc_auc=finding.roc_auc, used=used, why=finding.warning
            )
    for field, reason in portfolio.warnings:
        log.warning("leaking_field_allowed", field=field, reason=reason)
    return findings


def _learn(lesson: Lesson, workers: Workers, hooks: Hooks) -> Learner:
    learner, loans = learner_of(lesson, workers, hooks), lesson.loans
    _resume(learner, lesson.checkpoint)
    if learner.position.phase == "pretrain":
        pretrain(learner, loans.to_pretrain, hooks.on_progress)
        learner.pretrained = copied(learner.network)
        learner.enter(Position(phase="train"))
    if learner.position.phase == "train":
        fine_tune(learner, loans, hooks.on_progress, hooks.on_epoch)
        learner.enter(replace(learner.position, phase="refit", step=0))
    if learner.config.refit:
        refit(learner, loans, hooks.on_progress)
    return learner


def learner_of(lesson: Lesson, workers: Workers, hooks: Hooks, *, captures: bool | None = None) -> Learner:
    return Learner(
        *_fresh_modules(lesson.loans.encoder, lesson.config, lesson.seed, workers.device),
        workers=workers,
        config=lesson.config,
        seed=lesson.seed,
        fingerprint=lesson.fingerprint,
        save_checkpoint=hooks.save_checkpoint,
        checkpoint_every_s=hooks.checkpoint_every_s,
        captures=workers.can_capture if captures is None else captures,
    )


def _concluded(
    learner: Learner,
    loans: EncodedLoans,
    held_out: HeldOut,
    ensemble: Ensemble | None,
    *,
    data: TrainingData,
    portfolio: Portfolio,
    findings: list[Finding],
) -> TrainedModel:
    calibration, threshold, metrics = _calibrated(held_out.decisive, loans.newer.defaulted)
    return TrainedModel(
        network=learner.network.cpu().eval(),
        encoder=loans.encoder,
        portfolio=portfolio,
        seed=learner.seed,
        calibration=calibration,
        threshold=threshold,
        metrics=metrics,
        audit=findings,
        validation=loans.newer.inputs,
        held_out=held_out,
        train_from=_moment(data.occurred_at.min()),
        train_to=_moment(data.occurred_at.max()),
        n_train=loans.n_older,
        n_validation=len(loans.newer),
        ensemble=ensemble,
    )


def _judged(
    learner: Learner, loans: EncodedLoans, portfolio: Portfolio, hooks: Hooks
) -> tuple[HeldOut, Ensemble | None]:
    """What the chosen weights say of the held-out loans, which they had not learnt from."""
    chosen = copy.deepcopy(learner.network)
    chosen.load_state_dict(learner.best)
    with Workers(learner.workers.n) as workers:  # the other processes have gone
        by_network = log_odds(chosen, loans.newer.inputs, workers)
    if portfolio.model.kind == "tabtransformer":
        return HeldOut(by_network), None
    hooks.on_progress(Progress("boost"))
    return _ensemble(learner, loans, by_network)


def _ensemble(learner: Learner, loans: EncodedLoans, by_network: Floats) -> tuple[HeldOut, Ensemble]:
    """Trees beside the network that has learnt. They take seconds: a resumed training fits them again."""
    newer, config = loans.newer, learner.config
    boosting = best_boosted(loans.encoder, loans.older, newer, config, seed=learner.seed)
    by_trees = boosting.log_odds(newer.inputs)
    chosen = Ensemble(boosting, best_share(by_network, by_trees, newer.defaulted))
    by_both = chosen.log_odds(by_network, newer.inputs)
    if config.refit:
        boosting = boosted(loans.encoder, loans.labelled, config, n_trees=boosting.n_trees, seed=learner.seed)
    return HeldOut(by_network, by_trees, by_both), replace(chosen, boosting=boosting)


def _calibrated(log_odds: Floats, defaulted: Mask) -> tuple[Calibration, float, dict[str, float | None]]:
    calibration, threshold = fitted_on_validation(log_odds, defaulted)
    return calibration, threshold, validation_metrics(calibration.probabilities(log_odds), defaulted, threshold)


def _fresh_modules(
    encoder: Encoder, config: ModelConfig, seed: int, device: torch.device
) -> tuple[TabTransformer, Projection]:
    torch.manual_seed(seed)
    return network_of(encoder, config).to(device), Projection(config.d_model).to(device)


def network_of(encoder: Encoder, config: ModelConfig) -> TabTransformer:
    """With weights that torch's own generator draws."""
    return TabTransformer(
        category_ids=[part.n_ids for part in encoder.categories],
        exact_ids=[part.n_ids for part in encoder.numbers],
        d_model=config.d_model,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        d_feedforward=config.d_feedforward,
        dropout=config.dropout,
        embedding_std=config.embedding_std,
    )


def _resume(learner: Learner, data: bytes | None) -> None:
    if data is None:
        return
    try:
        learner.resume(data)
    except CheckpointUnusable as unusable:
        log.warning("checkpoint_not_used", reason=str(unusable))
    else:
        log.info("training_resumed", phase=learner.position.phase, step=learner.position.step)


def _moment(time: np.datetime64) -> datetime:
    moment: datetime = time.astype("datetime64[us]").astype(datetime)
    return moment.replace(tzinfo=UTC)
