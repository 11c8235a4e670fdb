"""The training, from frozen loans to a calibrated network: audit, pretrain, train, calibrate."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import structlog
import torch
from loanloop_common.bundle import Calibration
from loanloop_common.features import EncodedBatch, Encoder, Floats
from loanloop_common.portfolio import ModelConfig, Portfolio

from loanloop_trainer.domain.audit import Finding, audit_features
from loanloop_trainer.domain.blending import best_share
from loanloop_trainer.domain.calibration import best_threshold, platt, validation_metrics
from loanloop_trainer.domain.recency import recency_weights
from loanloop_trainer.domain.split import Mask, split_by_day
from loanloop_trainer.model.boosting import boost
from loanloop_trainer.model.checkpoint import CheckpointUnusable, Position
from loanloop_trainer.model.data import TrainingData
from loanloop_trainer.model.encoding import fit_encoder
from loanloop_trainer.model.ensemble import Ensemble
from loanloop_trainer.model.learning import CHECKPOINT_EVERY_S, Learner, SaveCheckpoint
from loanloop_trainer.model.lesson import EncodedLoans, Lesson
from loanloop_trainer.model.phases import OnEpoch, fine_tune, log_odds, pretrain
from loanloop_trainer.model.pretraining import Projection
from loanloop_trainer.model.progress import OnProgress, Progress
from loanloop_trainer.model.ranks import ALONE, Ranks
from loanloop_trainer.model.tabtransformer import TabTransformer
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


@dataclass(frozen=True)
class TrainedModel:
    """A network, with the trees beside it if there are any, and all that its bundle says about it."""

    network: TabTransformer
    encoder: Encoder
    portfolio: Portfolio
    seed: int
    calibration: Calibration
    threshold: float
    metrics: dict[str, float | None]
    audit: list[Finding]
    validation: EncodedBatch
    train_from: datetime
    train_to: datetime
    n_train: int
    n_validation: int
    ensemble: Ensemble | None = None


def train(  # its data, and with whom and how it computes
    data: TrainingData,
    portfolio: Portfolio,
    *,
    seed: int,
    threads: int | None = None,
    hooks: Hooks = NO_HOOKS,
    ranks: Ranks = ALONE,
) -> TrainedModel:
    """Deterministic by seed, also across a resumption, on the same machine and numbers of processes and threads.

    The newest loans of `data` are held out to stop early, calibrate and choose the threshold; the gate's loans must
    not be in `data` at all. The other processes of `ranks` must `follow`. Raises TooFewDays.
    """
    hooks.on_progress(Progress("audit"))
    findings = audit(data, portfolio)
    hooks.on_audit(findings)
    loans = _encoded(data, portfolio)
    lesson = Lesson(loans, portfolio.model, seed, _fingerprint(portfolio, seed, loans), hooks.checkpoint)
    with ranks.met():
        lesson.tell(ranks)
        with Workers(threads, ranks) as workers:
            learner = _learn(lesson, workers, hooks)
    by_network = _log_odds_held_out(learner, loans)
    ensemble = _ensemble(learner, loans, by_network, hooks) if portfolio.model.kind == "ensemble" else None
    hooks.on_progress(Progress("calibrate"))
    logits = by_network if ensemble is None else ensemble.log_odds(by_network, loans.newer)
    trained = _concluded(learner, loans, logits, data=data, portfolio=portfolio, findings=findings)
    return replace(trained, ensemble=ensemble)


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
    loans = _encoded(data, portfolio)
    lesson = Lesson(loans, portfolio.model, seed, _fingerprint(portfolio, seed, loans), checkpoint=None)
    with Workers(threads) as workers:
        _learn(lesson, workers, hooks)


def _encoded(data: TrainingData, portfolio: Portfolio) -> EncodedLoans:
    split = split_by_day(data.occurred_at, validation_share=portfolio.model.validation_share)
    older, newer = data.rows(split.train), data.rows(split.validation)
    encoder = fit_encoder(portfolio, older.columns)
    labelled = encoder.encode_columns(older.columns)
    unlabelled = labelled.rows(slice(0, 0)) if data.unlabelled is None else encoder.encode_columns(data.unlabelled)
    return EncodedLoans(
        encoder,
        labelled,
        older.defaulted,
        recency_weights(older.occurred_at, portfolio.model.half_life_days),
        encoder.encode_columns(newer.columns),
        newer.defaulted,
        unlabelled,
    )


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
    learner, loans = _learner(lesson, workers, hooks), lesson.loans
    _resume(learner, lesson.checkpoint)
    if learner.position.phase == "pretrain":
        pretrain(learner, loans.to_pretrain, hooks.on_progress)
        learner.enter(Position(phase="train"))
    held_out = (loans.newer, loans.newer_defaulted)
    older = (loans.older, loans.older_defaulted, loans.older_weights)
    fine_tune(learner, older, held_out, hooks.on_progress, hooks.on_epoch)
    return learner


def _learner(lesson: Lesson, workers: Workers, hooks: Hooks) -> Learner:
    return Learner(
        *_fresh_modules(lesson.loans.encoder, lesson.config, lesson.seed, workers.device),
        workers=workers,
        config=lesson.config,
        seed=lesson.seed,
        fingerprint=lesson.fingerprint,
        save_checkpoint=hooks.save_checkpoint,
        checkpoint_every_s=hooks.checkpoint_every_s,
    )


def _concluded(
    learner: Learner,
    loans: EncodedLoans,
    logits: Floats,
    *,
    data: TrainingData,
    portfolio: Portfolio,
    findings: list[Finding],
) -> TrainedModel:
    calibration, threshold, metrics = _calibrated(logits, loans.newer_defaulted)
    return TrainedModel(
        network=learner.network.cpu().eval(),
        encoder=loans.encoder,
        portfolio=portfolio,
        seed=learner.seed,
        calibration=calibration,
        threshold=threshold,
        metrics=metrics,
        audit=findings,
        validation=loans.newer,
        train_from=_moment(data.occurred_at.min()),
        train_to=_moment(data.occurred_at.max()),
        n_train=len(loans.older_defaulted),
        n_validation=len(loans.newer_defaulted),
    )


def _log_odds_held_out(learner: Learner, loans: EncodedLoans) -> Floats:
    with Workers(learner.workers.n) as workers:  # the other processes have gone
        return log_odds(learner.network, loans.newer, workers)


def _ensemble(learner: Learner, loans: EncodedLoans, by_network: Floats, hooks: Hooks) -> Ensemble:
    """Trees beside the network that has learnt. They take seconds: a resumed training fits them again."""
    hooks.on_progress(Progress("boost"))
    older = (loans.older, loans.older_defaulted, loans.older_weights)
    newer = (loans.newer, loans.newer_defaulted)
    boosting = boost(loans.encoder, older, newer, learner.config, seed=learner.seed)
    return Ensemble(boosting, best_share(by_network, boosting.log_odds(loans.newer), loans.newer_defaulted))


def _calibrated(logits: Floats, defaulted: Mask) -> tuple[Calibration, float, dict[str, float | None]]:
    slope, intercept = platt(logits, defaulted)
    calibration = Calibration(slope=slope, intercept=intercept)
    probabilities = calibration.probabilities(logits)
    threshold = best_threshold(probabilities, defaulted)
    return calibration, threshold, validation_metrics(probabilities, defaulted, threshold)


def _fresh_modules(
    encoder: Encoder, config: ModelConfig, seed: int, device: torch.device
) -> tuple[TabTransformer, Projection]:
    torch.manual_seed(seed)
    network = TabTransformer(
        category_ids=[part.n_ids for part in encoder.categories],
        exact_ids=[part.n_ids for part in encoder.numbers],
        d_model=config.d_model,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        d_feedforward=config.d_feedforward,
        dropout=config.dropout,
        embedding_std=config.embedding_std,
    )
    return network.to(device), Projection(config.d_model).to(device)


def _resume(learner: Learner, data: bytes | None) -> None:
    if data is None:
        return
    try:
        learner.resume(data)
    except CheckpointUnusable as unusable:
        log.warning("checkpoint_not_used", reason=str(unusable))
    else:
        log.info("training_resumed", phase=learner.position.phase, step=learner.position.step)


def _fingerprint(portfolio: Portfolio, seed: int, loans: EncodedLoans) -> str:
    said = hashlib.sha256(f"{seed} {portfolio.schema_hash} {portfolio.model.model_dump_json()}".encode())
    for part in (*loans.to_pretrain, loans.older_defaulted):
        said.update(np.ascontiguousarray(part).tobytes())
    return said.hexdigest()


def _moment(time: np.datetime64) -> datetime:
    moment: datetime = time.astype("datetime64[us]").astype(datetime)
    return moment.replace(tzinfo=UTC)
