"""A whole training, small: deterministic, resumable, exported with parity."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from loanloop_common.bundle import unpack
from loanloop_common.features import MASK
from loanloop_common.scoring import Scorer
from loanloop_trainer.domain.split import TooFewDays
from loanloop_trainer.model import Hooks, Progress, TrainedModel, TrainingData, export, train
from loanloop_trainer.model.checkpoint import CheckpointUnusable, Position, from_bytes, to_bytes
from loanloop_trainer.model.exporting import PARITY, ParityBroken
from loanloop_trainer.model.phases import log_odds
from loanloop_trainer.model.workers import Workers
from safetensors.torch import load
from sklearn.metrics import roc_auc_score

from tests.support.tiny_training import N_LOANS, Killed, make_data, small_portfolio, weights_of


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return train(make_data(), small_portfolio(), seed=1, threads=2)


def test_it_learns_what_there_is_to_learn(trained: TrainedModel) -> None:
    assert (trained.metrics["roc_auc"] or 0) > 0.75
    assert 0 < trained.threshold < 1
    assert trained.audit[0].feature == "term_months"


def test_the_same_seed_gives_the_same_weights(trained: TrainedModel) -> None:
    assert weights_of(train(make_data(), small_portfolio(), seed=1, threads=2)) == weights_of(trained)
    assert weights_of(train(make_data(), small_portfolio(), seed=2, threads=2)) != weights_of(trained)


def test_a_batch_in_parts_learns_what_the_whole_batch_learns() -> None:
    nothing_by_chance = small_portfolio(dropout=0.0, unknown_share=0.0, pretrain_epochs=0)
    whole = train(make_data(), nothing_by_chance, seed=1, threads=1)
    in_parts = train(make_data(), nothing_by_chance, seed=1, threads=2)

    for one, other in zip(whole.network.parameters(), in_parts.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_one_loan_with_a_value_or_a_ratio_beyond_all_spoils_no_training() -> None:
    data = make_data()
    columns = {name: list(column) for name, column in data.columns.items()}
    columns["employees"][0] = 1e308
    columns["guaranteed_amount"][1], columns["approved_amount"][1] = 5.0, 1e-295

    trained = train(replace(data, columns=columns), small_portfolio(pretrain_epochs=0), seed=1, threads=1)

    assert unpack(export(trained, version="v1", code_version="test"))
    assert (trained.metrics["roc_auc"] or 0) > 0.7


@pytest.mark.parametrize("killed_after", [1, 5, 9, 12, 20, 24, 25, 30, 40])
def test_a_killed_training_resumes_to_the_same_bits(trained: TrainedModel, killed_after: int) -> None:
    kept: list[bytes] = []

    def save_until_killed(checkpoint: bytes) -> None:
        kept.append(checkpoint)
        if len(kept) == killed_after:
            raise Killed

    with pytest.raises(Killed):
        train(
            make_data(),
            small_portfolio(),
            seed=1,
            threads=2,
            hooks=Hooks(save_checkpoint=save_until_killed, checkpoint_every_s=0),
        )
    torch.manual_seed(99)
    resumed = train(make_data(), small_portfolio(), seed=1, threads=2, hooks=Hooks(checkpoint=kept[-1]))

    assert weights_of(resumed) == weights_of(trained)
    assert resumed.threshold == trained.threshold


def test_a_training_that_was_killed_when_it_had_stopped_early_goes_on_from_there() -> None:
    data = make_data()
    noise = TrainingData(data.columns, np.random.default_rng(6).random(N_LOANS) < 0.5, data.occurred_at)
    portfolio, kept = small_portfolio(epochs=40, patience=1, pretrain_epochs=0), list[bytes]()
    hooks = Hooks(save_checkpoint=kept.append, checkpoint_every_s=0)
    whole = train(noise, portfolio, seed=1, threads=1, hooks=hooks)
    last = [one for one in kept if b'"phase": "train"' in _about(one)][-1]

    resumed = train(noise, portfolio, seed=1, threads=1, hooks=Hooks(checkpoint=last))

    assert b'"stale_epochs": 1' in _about(last)
    assert weights_of(resumed) == weights_of(whole)
    assert resumed.threshold == whole.threshold


def _about(checkpoint: bytes) -> bytes:
    return bytes(load(checkpoint)["about"].tolist())


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\xff" * 100])
def test_a_damaged_checkpoint_starts_the_training_again(trained: TrainedModel, damage: bytes) -> None:
    again = train(make_data(), small_portfolio(), seed=1, threads=2, hooks=Hooks(checkpoint=damage))

    assert weights_of(again) == weights_of(trained)


def test_a_checkpoint_of_another_run_is_not_used() -> None:
    data = to_bytes(Position("train", 3), {"network/x": torch.ones(2)}, "one run")

    assert from_bytes(data, "one run")[0] == Position("train", 3)
    with pytest.raises(CheckpointUnusable, match="another run"):
        from_bytes(data, "another run")


def test_what_came_after_the_training_rows_is_unknown_to_the_encoder() -> None:
    data = make_data()
    columns = {**data.columns, "state": [*data.columns["state"][:-30], *["WY"] * 30]}

    encoder = train(TrainingData(columns, data.defaulted, data.occurred_at), small_portfolio(), seed=1).encoder

    state = next(part for part in encoder.categories if part.name == "state")
    assert set(state.values) == {"CA", "NY", "TX"}
    assert not (encoder.encode_columns(columns).x_cat == MASK).any()


def test_the_data_window_covers_all_that_was_used_in_any_way(trained: TrainedModel) -> None:
    data = make_data()

    assert trained.train_from.replace(tzinfo=None) == data.occurred_at.min().item()
    assert trained.train_to.replace(tzinfo=None) == data.occurred_at.max().item()
    assert trained.n_train + trained.n_validation == N_LOANS


def test_progress_names_every_phase_in_order_and_ends_each_at_its_last_step() -> None:
    said: list[Progress] = []
    export(
        train(make_data(), small_portfolio(), seed=1, hooks=Hooks(on_progress=said.append)),
        version="v1",
        code_version="t",
        on_progress=said.append,
    )

    assert list(dict.fromkeys(progress.phase for progress in said)) == [
        "audit",
        "pretrain",
        "train",
        "refit",
        "calibrate",
        "export",
    ]
    last = [progress for progress in said if progress.phase == "train"][-1]
    assert (last.step, last.epoch, last.eta_s) == (last.steps, 4, 0.0)


def test_training_stops_when_validation_does_not_improve() -> None:
    said: list[Progress] = []
    data = make_data()
    noise = TrainingData(data.columns, np.random.default_rng(3).random(N_LOANS) < 0.5, data.occurred_at)

    train(
        noise, small_portfolio(epochs=200, patience=1, pretrain_epochs=0), seed=1, hooks=Hooks(on_progress=said.append)
    )

    train_steps = [progress for progress in said if progress.phase == "train"]
    assert train_steps
    assert train_steps[-1].step < train_steps[-1].steps


def test_no_pretraining_is_a_setting() -> None:
    said: list[Progress] = []
    train(make_data(), small_portfolio(pretrain_epochs=0), seed=1, hooks=Hooks(on_progress=said.append))

    assert "pretrain" not in {progress.phase for progress in said}


def test_loans_without_a_label_are_seen_by_pretraining_alone() -> None:
    data = make_data()
    more = TrainingData(data.columns, data.defaulted, data.occurred_at, unlabelled=make_data(400, seed=5).columns)
    few_epochs = {"pretrain_epochs": 1, "epochs": 1}

    pretrained, with_more = (train(loans, small_portfolio(**few_epochs), seed=1, threads=1) for loans in (data, more))
    plain, plain_with_more = (
        train(loans, small_portfolio(pretrain_epochs=0, epochs=1), seed=1, threads=1) for loans in (data, more)
    )

    assert weights_of(with_more) != weights_of(pretrained)
    assert weights_of(plain_with_more) == weights_of(plain)
    assert with_more.encoder == pretrained.encoder
    assert with_more.n_train + with_more.n_validation == N_LOANS


def test_what_held_of_older_loans_can_count_less() -> None:
    """Of the older two thirds the opposite holds."""
    data = make_data()
    is_older = np.arange(N_LOANS) < N_LOANS * 2 // 3
    turned = replace(data, defaulted=np.where(is_older, ~data.defaulted, data.defaulted))

    forgetful, alike = (
        train(turned, small_portfolio(pretrain_epochs=0, half_life_days=days), seed=1, threads=1) for days in (5, 0)
    )

    assert (forgetful.metrics["roc_auc"] or 0) > 0.7
    assert (alike.metrics["roc_auc"] or 0) < 0.5


def test_all_is_chosen_before_the_newest_loans_are_learnt_and_they_are_learnt() -> None:
    """Of the loans held out the opposite holds, which only those who learn from them can know."""
    data = make_data()
    is_newest = np.arange(N_LOANS) >= N_LOANS * 9 // 10
    turned = replace(data, defaulted=np.where(is_newest, ~data.defaulted, data.defaulted))
    facts = {"pretrain_epochs": 0, "half_life_days": 3, "patience": 4}
    again, once = (train(turned, small_portfolio(refit=refit, **facts), seed=1, threads=1) for refit in (True, False))

    assert (again.calibration, again.threshold, again.metrics) == (once.calibration, once.threshold, once.metrics)
    with Workers(1) as workers:
        by_again, by_once = (log_odds(one.network, one.validation, workers) for one in (again, once))
    assert once.held_out.network.tolist() == again.held_out.network.tolist()
    by_a_gpu = PARITY if torch.cuda.is_available() else 0.0  # held_out is, where there is one
    assert by_once == pytest.approx(once.held_out.network, abs=by_a_gpu, rel=0.0)
    assert (
        roc_auc_score(turned.defaulted[is_newest], by_once) < 0.5 < roc_auc_score(turned.defaulted[is_newest], by_again)
    )


@pytest.mark.parametrize("n_loans", [N_LOANS, 700, 760, 800, 900])
def test_an_epoch_of_all_loans_has_as_many_passes_as_one_of_the_older_ones(n_loans: int) -> None:
    said: list[Progress] = []
    portfolio = small_portfolio(pretrain_epochs=0, epochs=2, min_steps=30, patience=2)

    train(make_data(n_loans), portfolio, seed=1, threads=1, hooks=Hooks(on_progress=said.append))

    first, again = ([p for p in said if p.phase == phase][-1] for phase in ("train", "refit"))
    assert again.steps / again.epochs >= first.steps / first.epochs


def test_a_value_never_seen_counts_as_an_average_one() -> None:
    """Without `unknown_share` the same loans from an unseen state get .43 instead of .33."""
    data = make_data()
    trained = train(data, small_portfolio(unknown_share=0.2, min_steps=100), seed=1, threads=1)
    bundle = unpack(export(trained, version="v1", code_version="test"))
    elsewhere = {**data.columns, "state": ["WY"] * N_LOANS}

    seen, unseen = (
        Scorer(bundle).score(bundle.encoder.encode_columns(columns)).mean() for columns in (data.columns, elsewhere)
    )

    assert unseen == pytest.approx(seen, abs=0.05)


def test_the_plain_form_has_no_exact_values() -> None:
    plain = train(make_data(), small_portfolio(exact_values=False, class_weights=True), seed=1)

    assert all(number.exact == () for number in plain.encoder.numbers)


def test_loans_of_a_single_day_cannot_be_split() -> None:
    data = make_data(50)
    with pytest.raises(TooFewDays):
        train(TrainingData(data.columns, data.defaulted, data.occurred_at[:1].repeat(50)), small_portfolio(), seed=1)


def test_the_export_computes_what_the_network_computes(trained: TrainedModel) -> None:
    bundle = unpack(export(trained, version="v3", code_version="test"))

    assert bundle.manifest.parity <= PARITY
    assert bundle.version == "v3"
    assert bundle.manifest.metrics == trained.metrics
    assert Scorer(bundle).self_test() == 0.0


def test_where_one_loan_alone_is_held_out_the_export_takes_any_number() -> None:
    """The exporter is shown that one, and torch would take a size of one for the only one."""
    data = make_data(60)
    days = np.datetime64("2005-01-01", "us") + np.arange(60) * np.timedelta64(1, "D")
    portfolio = small_portfolio(validation_share=0.01, pretrain_epochs=0, epochs=1)
    trained = train(replace(data, occurred_at=days), portfolio, seed=1, threads=1)

    bundle = unpack(export(trained, version="v1", code_version="test"))

    loans = bundle.encoder.encode_columns(data.columns)
    with Workers(1) as workers:
        by_network = log_odds(trained.network, loans, workers)
    assert trained.n_validation == 1
    assert Scorer(bundle).log_odds(loans) == pytest.approx(by_network, abs=PARITY)


def test_an_export_that_computes_otherwise_is_not_served(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loanloop_trainer.model.exporting.PARITY", -1.0)

    with pytest.raises(ParityBroken):
        export(trained, version="v1", code_version="test")


def test_training_leaves_no_thread_behind() -> None:
    before = {thread.name for thread in threading.enumerate()}
    export(train(make_data(), small_portfolio(), seed=1), version="v1", code_version="test")

    assert {thread.name for thread in threading.enumerate()} <= before
