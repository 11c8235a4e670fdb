"""Trees beside the network, in one graph: what it computes, from small real loans to the bundle."""

import hashlib
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from loanloop_common.bundle import Bundle, unpack
from loanloop_common.errors import BundleCorrupt
from loanloop_common.features import MISSING, EncodedBatch
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.scoring import Scorer
from loanloop_common.verified_scorer import load_verified
from loanloop_trainer.domain.blending import best_share
from loanloop_trainer.model import Hooks, Progress, TrainedModel, export, train
from loanloop_trainer.model.boosting import FOLDS, JUDGED_EVERY, Boosting, TooFewToBoost, best_boosted
from loanloop_trainer.model.ensemble import Ensemble, TreeForm
from loanloop_trainer.model.exporting import PARITY
from loanloop_trainer.model.loans import LabelledLoans, encoded_loans
from loanloop_trainer.model.perfect_trees import perfect_trees, rounded_down
from sklearn.metrics import roc_auc_score

from tests.support.bundles import read_sample
from tests.support.tiny_training import N_LOANS as N_TINY
from tests.support.tiny_training import Killed, make_data, small_portfolio

N_LOANS = 4000
TREES = {"kind": "ensemble", "trees": 60, "tree_min_loans": 20, "epochs": 2, "pretrain_epochs": 1}


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    portfolio = load_portfolio("sba_application").model_copy(update={"model": small_portfolio(**TREES).model})
    return train(read_sample(N_LOANS, portfolio), portfolio, seed=1, threads=1)


@pytest.fixture(scope="module")
def ensemble(trained: TrainedModel) -> Ensemble:
    assert trained.ensemble is not None
    return trained.ensemble


@pytest.fixture(scope="module")
def bundle(trained: TrainedModel) -> Bundle:
    return unpack(export(trained, version="v1", code_version="test"))


def tensors(loans: EncodedBatch) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(part) for part in loans)


def test_bundle_says_what_it_is(bundle: Bundle, ensemble: Ensemble) -> None:
    manifest = bundle.manifest

    assert manifest.kind == "ensemble"
    assert manifest.weights == {
        "tabtransformer": ensemble.network_share,
        "boosting": pytest.approx(1 - ensemble.network_share),
    }
    assert manifest.parity <= PARITY
    assert "scikit-learn" in manifest.runtime


def test_network_alone_is_no_ensemble() -> None:
    portfolio = small_portfolio(epochs=1, pretrain_epochs=0)
    alone = train(read_sample(2000, portfolio), portfolio, seed=1, threads=1)
    manifest = unpack(export(alone, version="v1", code_version="test")).manifest

    assert (alone.ensemble, manifest.kind, manifest.weights) == (None, "tabtransformer", {})


def test_graph_has_standard_operators_alone_and_the_inputs_of_the_encoder(bundle: Bundle) -> None:
    """ai.onnx.ml, which has operators for trees, is a domain that not every runtime knows."""
    graph = onnx.load_from_string(bundle.model)

    assert {domain.domain for domain in graph.opset_import} == {""}
    assert {node.domain for node in graph.graph.node} == {""}
    assert [part.name for part in graph.graph.input] == ["x_cat", "x_num", "x_exact"]
    assert [part.name for part in graph.graph.output] == ["logits"]


def test_trees_of_the_graph_decide_as_scikit_learn_does(ensemble: Ensemble, trained: TrainedModel) -> None:
    """Each loan ends in the same leaf: what is left of a difference is the rounding of the leaves."""
    loans, form = trained.validation, TreeForm(ensemble.boosting, weight=1.0).eval()

    by_graph = form(*tensors(loans)).numpy().astype(np.float64)

    assert np.abs(by_graph - ensemble.boosting.log_odds(loans)).max() < 1e-5


def test_trees_that_find_nothing_to_tell_loans_apart_by_are_a_graph_too(trained: TrainedModel) -> None:
    """Fewer loans than two leaves must have."""
    loans = trained.validation.rows(slice(0, 30))
    few = LabelledLoans(loans, np.arange(30) % 3 == 0, np.ones(30, np.float32))

    boosting = best_boosted(trained.encoder, few, few, trained.portfolio.model, seed=1)

    by_graph = TreeForm(boosting, weight=1.0).eval()(*tensors(loans)).numpy()
    assert by_graph == pytest.approx(boosting.log_odds(loans), abs=1e-5)
    assert len(set(by_graph.tolist())) == 1


def test_values_at_a_threshold_go_to_the_same_side(ensemble: Ensemble, trained: TrainedModel) -> None:
    """Float32 values at, next below and next above each threshold, in the feature that it is of."""
    boosting, n_categories = ensemble.boosting, len(ensemble.boosting.tables)
    trees = perfect_trees(boosting, weight=1.0)
    of_numbers = trees.feature >= n_categories
    edges = {*zip(trees.feature[of_numbers].tolist(), trees.threshold[of_numbers].tolist(), strict=True)}
    rows, near = [], []
    for feature, threshold in sorted(edges):
        for value in (
            np.float32(threshold),
            *(np.nextafter(np.float32(threshold), np.float32(s)) for s in (-9e9, 9e9)),
        ):
            rows.append(feature - n_categories)
            near.append(value)
    first = trained.validation.rows(np.zeros(len(rows), int))
    first.x_num[np.arange(len(rows)), rows] = near
    first.x_exact[np.arange(len(rows)), rows] = MISSING + 1

    by_graph = TreeForm(boosting, weight=1.0).eval()(*tensors(first)).numpy()

    assert len(edges) > 20
    assert np.abs(by_graph - boosting.log_odds(first)).max() < 1e-5


def test_sum_of_leaves_is_the_same_bits_in_any_order(ensemble: Ensemble) -> None:
    leaf = perfect_trees(ensemble.boosting, weight=0.37).leaf
    chance = np.random.default_rng(0)
    chosen = leaf[np.arange(len(leaf)), chance.integers(0, leaf.shape[1], len(leaf))]
    exact = np.float32(chosen.astype(np.float64).sum())

    for _ in range(50):
        total = np.float32(0)
        for value in chance.permutation(chosen):
            total += value
        assert total == exact


@pytest.mark.parametrize("value", [0.1, -0.1, 1 / 3, 1e-30, 0.5, 1e30])
def test_threshold_is_rounded_to_the_side_that_divides_float32_alike(value: float) -> None:
    rounded = rounded_down(value)

    assert float(rounded) <= value
    assert float(np.nextafter(rounded, np.float32(np.inf))) > value


def test_loans_score_the_same_bits_in_every_batch(bundle: Bundle, trained: TrainedModel) -> None:
    scorer = Scorer(bundle, threads=2)
    loans = trained.validation.rows(slice(0, 300))
    try:
        whole = scorer.log_odds(loans)
        for size in (1, 2, 3, 17, 128, 129, 300):
            assert scorer.log_odds(loans.rows(slice(0, size))).tobytes() == whole[:size].tobytes()
        assert scorer.self_test() == 0.0
    finally:
        scorer.close()


def test_it_is_served_like_any_other_or_refused_like_any_other(trained: TrainedModel) -> None:
    data = export(trained, version="v7", code_version="test")
    sha256 = hashlib.sha256(data).digest()
    other = trained.portfolio.model_copy(update={"name": "other"})

    scorer = load_verified(data, sha256, version="v7", portfolio=trained.portfolio)
    scorer.close()

    with pytest.raises(BundleCorrupt, match="portfolio"):
        load_verified(data, sha256, version="v7", portfolio=other)
    place = data.index(b"logits", data.index(b"x_exact"))
    with pytest.raises(BundleCorrupt, match="is cut short"):
        unpack(data[:place] + b"LOGITS" + data[place + 6 :])


def test_category_without_training_loans_counts_as_the_average(ensemble: Ensemble, trained: TrainedModel) -> None:
    """No loan of the training rows has the mask's index, or one of a category's that none of them had."""
    for table in ensemble.boosting.tables:
        assert np.isfinite(table).all()
        assert table[2] == pytest.approx(ensemble.boosting.tables[0][2])


def test_killed_training_gives_the_same_ensemble(trained: TrainedModel, ensemble: Ensemble) -> None:
    portfolio, data = trained.portfolio, read_sample(N_LOANS, trained.portfolio)
    kept: list[bytes] = []

    def save_until_killed(checkpoint: bytes) -> None:
        kept.append(checkpoint)
        if len(kept) == 40:
            raise Killed

    hooks = Hooks(save_checkpoint=save_until_killed, checkpoint_every_s=0)
    with pytest.raises(Killed):
        train(data, portfolio, seed=1, threads=1, hooks=hooks)
    resumed = train(data, portfolio, seed=1, threads=1, hooks=Hooks(checkpoint=kept[-1]))

    assert resumed.ensemble is not None
    assert resumed.ensemble.network_share == ensemble.network_share
    again = resumed.ensemble.boosting.log_odds(trained.validation)
    assert again.tobytes() == ensemble.boosting.log_odds(trained.validation).tobytes()


def test_as_many_trees_are_kept_as_rank_the_newest_loans_best(trained: TrainedModel, ensemble: Ensemble) -> None:
    loans = encoded_loans(read_sample(N_LOANS, trained.portfolio), trained.portfolio)
    newer = loans.newer

    chosen = best_boosted(loans.encoder, loans.older, newer, trained.portfolio.model, seed=1)

    stages = [*chosen.fitted.staged_decision_function(chosen.inputs(newer.inputs))]
    scores = [roc_auc_score(newer.defaulted, stage) for stage in stages[JUDGED_EVERY - 1 :: JUDGED_EVERY]]
    best = int(np.argmax(scores))
    assert len(scores) == 6
    assert best not in (0, int(np.argmin(scores)), 5)  # or first, worst or last would do as well
    assert chosen.n_trees == (best + 1) * JUDGED_EVERY
    assert roc_auc_score(newer.defaulted, chosen.log_odds(newer.inputs)) == scores[best]
    # Those that are served have learnt the newer loans as well, and are as many.
    assert perfect_trees(ensemble.boosting, weight=1.0).n_trees == ensemble.boosting.n_trees == chosen.n_trees


def test_trees_learn_what_was_held_out_once_they_are_chosen(trained: TrainedModel, ensemble: Ensemble) -> None:
    defaulted = read_sample(N_LOANS, trained.portfolio).defaulted[-trained.n_validation :]
    assert trained.held_out.trees is not None

    known = ensemble.boosting.log_odds(trained.validation)

    assert roc_auc_score(defaulted, known) > roc_auc_score(defaulted, trained.held_out.trees) + 0.05


def test_one_class_alone_gives_a_sentence(trained: TrainedModel) -> None:
    loans = trained.validation
    few = np.arange(len(loans.x_cat)) < FOLDS - 1
    few_loans = LabelledLoans(loans, few, np.ones(len(few), np.float32))

    with pytest.raises(TooFewToBoost, match='set kind = "tabtransformer"'):
        best_boosted(trained.encoder, few_loans, few_loans, trained.portfolio.model, seed=1)


def test_too_few_of_a_class_are_refused_before_the_network_learns() -> None:
    said: list[Progress] = []
    data = make_data()
    few = replace(data, defaulted=np.arange(N_TINY) % 200 == 0)  # three, all of them among the older ones

    with pytest.raises(TooFewToBoost):
        train(few, small_portfolio(**TREES), seed=1, threads=1, hooks=Hooks(on_progress=said.append))

    assert {progress.phase for progress in said} == {"audit"}


def test_weight_goes_to_the_model_that_knows_more() -> None:
    chance = np.random.default_rng(1)
    labels = chance.random(3000) < 0.3
    knows, guesses = labels * 2.0 + chance.normal(size=3000), chance.normal(size=3000)

    assert best_share(knows, guesses, labels) > 0.8
    assert best_share(guesses, knows, labels) < 0.2
    assert best_share(knows, guesses, np.ones(3000, bool)) == 0.5


def test_two_models_that_know_different_things_share_the_weight() -> None:
    chance = np.random.default_rng(2)
    one, other = chance.normal(size=4000), chance.normal(size=4000)
    labels = one + other + chance.normal(size=4000) > 0

    assert 0.3 < best_share(one, other, labels) < 0.7


def test_tables_know_the_training_loans_alone(trained: TrainedModel) -> None:
    """Labels of the newer loans may choose the number of trees, never what a category counts for."""
    loans, model = trained.validation, trained.portfolio.model
    chance = np.random.default_rng(3)
    labels, others = chance.random(len(loans.x_cat)) < 0.3, chance.random(len(loans.x_cat)) < 0.5

    older, turned = (LabelledLoans(loans, part, np.ones(len(labels), np.float32)) for part in (labels, others))
    one, two = (best_boosted(trained.encoder, older, newer, model, seed=1) for newer in (older, turned))

    assert all(np.array_equal(*tables) for tables in zip(one.tables, two.tables, strict=True))


@pytest.mark.parametrize("kind", ["category", "number"])
def test_portfolio_of_numbers_or_of_categories_alone_is_an_ensemble_too(trained: TrainedModel, kind: str) -> None:
    features = {name: f for name, f in trained.portfolio.features.items() if f.kind == kind}
    facts = trained.portfolio.model_dump() | {"features": features, "derived": {}, "allow": {}}
    portfolio = Portfolio.model_validate(facts)

    alone = train(read_sample(1500, portfolio), portfolio, seed=1, threads=1)

    assert unpack(export(alone, version="v1", code_version="test")).manifest.kind == "ensemble"


def test_missing_number_is_told_from_every_value(ensemble: Ensemble, trained: TrainedModel) -> None:
    loans = trained.validation.rows(slice(0, 50))
    loans.x_exact[:25, 0] = MISSING

    inputs = Boosting.inputs(ensemble.boosting, loans)

    column = len(ensemble.boosting.tables)
    assert (inputs[:25, column] < inputs[25:, column].min()).all()
