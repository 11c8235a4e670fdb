"""The network and what it learns by."""

import math

import pytest
import torch
from loanloop_common.features import MASK, UNKNOWN
from loanloop_trainer.model.loans import Inputs
from loanloop_trainer.model.phases import class_weights, passes_per_epoch, with_unknown
from loanloop_trainer.model.pretraining import masked_view, nt_xent
from loanloop_trainer.model.schedule import epoch_order, one_cycle, steps_per_epoch
from loanloop_trainer.model.serving_form import ServingForm
from loanloop_trainer.model.tabtransformer import TabTransformer, kept, parameter_groups
from torch import Tensor


def make_network(d_model: int = 8, n_heads: int = 2) -> TabTransformer:
    torch.manual_seed(0)
    return TabTransformer(
        category_ids=[5, 9],
        exact_ids=[4, 3, 7],
        d_model=d_model,
        n_layers=2,
        n_heads=n_heads,
        d_feedforward=16,
        dropout=0.1,
        embedding_std=0.5,
    )


def inputs(n_rows: int) -> Inputs:
    return (
        torch.randint(3, 5, (n_rows, 2)),
        torch.randn(n_rows, 3),
        torch.tensor([[3, 0, 6]]).repeat(n_rows, 1),
    )


def test_each_loan_gets_two_logits() -> None:
    assert make_network()(*inputs(7)).shape == (7, 2)


def test_a_loan_does_not_see_the_others_in_its_batch() -> None:
    network, batch = make_network().eval(), inputs(6)

    together = network(*batch)
    apart = torch.cat([network(*(part[i : i + 2] for part in batch)) for i in (0, 2, 4)])

    assert torch.allclose(together, apart, atol=1e-6)


def test_the_form_that_is_served_computes_the_same() -> None:
    network, batch = make_network().eval(), inputs(6)

    with torch.no_grad():
        assert torch.allclose(ServingForm(network).eval()(*batch), network(*batch), atol=1e-6)


def test_the_form_that_is_served_gives_a_number_where_similarities_are_huge() -> None:
    network, batch = make_network().eval(), inputs(6)
    for name, parameter in network.named_parameters():
        if name.endswith("qkv.bias"):
            torch.nn.init.constant_(parameter, 1e3)

    with torch.no_grad():
        assert torch.isfinite(ServingForm(network).eval()(*batch)).all()


def test_the_same_index_of_two_features_means_two_things() -> None:
    network = make_network().eval()
    first, second = torch.tensor([[3, 4]]), torch.tensor([[4, 3]])
    rest = (torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.int64))

    assert not torch.allclose(network(first, *rest), network(second, *rest))


def test_the_exact_value_is_added_to_the_token_so_the_sequence_is_no_longer() -> None:
    network, batch = make_network(), inputs(1)

    tokens = network.tokens(*batch)
    other = network.tokens(batch[0], batch[1], batch[2] - torch.tensor([[1, 0, 0]]))

    assert tokens.shape == (1, 5, 8)
    assert (tokens != other).any(dim=2).tolist() == [[False, False, True, False, False]]


@pytest.mark.parametrize("dropped", [0.1, 0.5])
def test_what_drops_out_is_its_share_of_each_column_and_the_mean_stays(dropped: float) -> None:
    mask = kept(torch.empty(20_000, 5), dropped, torch.Generator().manual_seed(1))

    assert sorted(set(mask.flatten().tolist())) == pytest.approx([0, 1 / (1 - dropped)])
    assert torch.allclose((mask == 0).float().mean(dim=0), torch.tensor(dropped), atol=0.015)
    assert mask.mean() == pytest.approx(1.0, abs=0.01)


def test_what_drops_out_follows_from_the_generator() -> None:
    one, same, other = (kept(torch.empty(7, 3), 0.5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_heads_must_divide_the_model() -> None:
    with pytest.raises(ValueError, match="d_model=8, n_heads=3"):
        make_network(n_heads=3)


def test_every_parameter_is_in_one_group_and_embeddings_do_not_decay() -> None:
    network = make_network()
    decayed, spared = parameter_groups(network, network.tokens, 0.1)

    assert len(decayed["params"]) + len(spared["params"]) == len([*network.parameters()])
    assert any(p is network.tokens.embedding.weight for p in spared["params"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def reference_nt_xent(one: Tensor, other: Tensor, temperature: float) -> float:
    """The definition, one view at a time."""
    views = [*torch.nn.functional.normalize(torch.cat([one, other]).double(), dim=1)]
    n_rows, losses = len(one), []
    for i, view in enumerate(views):
        twin = (i + n_rows) % (2 * n_rows)
        similar = [math.exp(float(view @ w) / temperature) for w in views]
        negatives = sum(s for j, s in enumerate(similar) if j not in (i, twin))
        losses.append(-math.log(similar[twin] / (similar[twin] + negatives)))
    return sum(losses) / len(losses)


def test_nt_xent_counts_the_positive_pair_once() -> None:
    torch.manual_seed(1)
    one, other = torch.randn(5, 4), torch.randn(5, 4)

    assert nt_xent(one, other, 0.2).item() == pytest.approx(reference_nt_xent(one, other, 0.2), rel=1e-5)


def test_nt_xent_of_twins_that_are_alike_and_unlike_all_others_is_small() -> None:
    views = torch.eye(4) * 3

    assert nt_xent(views, views, 0.1).item() < 0.01
    assert nt_xent(views, views.roll(1, 0), 0.1).item() > 5


def test_masking_hides_about_its_share_and_has_an_index_of_its_own() -> None:
    batch = inputs(4000)

    x_cat, x_num, x_exact = masked_view(batch, 0.3, torch.Generator().manual_seed(2))

    assert (x_cat == MASK).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert not (batch[0] == MASK).any()
    assert torch.equal(x_num == 0, x_exact == MASK)
    assert torch.equal(x_cat[x_cat != MASK], batch[0][x_cat != MASK])


def test_values_shown_as_never_seen_are_a_share_and_numbers_keep_their_size() -> None:
    batch = inputs(4000)

    x_cat, x_num, x_exact = with_unknown(batch, 0.1, torch.Generator().manual_seed(2))

    assert (x_cat == UNKNOWN).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(x_num, batch[1])
    assert (x_exact != batch[2]).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert (x_exact[x_exact != batch[2]] == UNKNOWN).all()


def test_few_loans_are_passed_more_often() -> None:
    assert passes_per_epoch(4, epochs=5, min_steps=600) == 30
    assert passes_per_epoch(7, epochs=5, min_steps=600) == 18
    assert passes_per_epoch(200, epochs=5, min_steps=600) == 1
    assert passes_per_epoch(1, epochs=1, min_steps=0) == 1


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nearly_nothing() -> None:
    rates = [one_cycle(step, 100, 1.0) for step in range(1, 101)]

    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates.index(max(rates)) == 29
    assert rates == sorted(rates[:30]) + sorted(rates[30:], reverse=True)
    assert rates[-1] < 1e-3 < rates[0]


def test_each_epoch_has_an_order_of_its_own_that_a_seed_repeats() -> None:
    orders = [epoch_order(50, seed=1, epoch=epoch).tolist() for epoch in (0, 1)]

    assert orders[0] != orders[1]
    assert epoch_order(50, seed=1, epoch=1).tolist() == orders[1]
    assert sorted(orders[0]) == [*range(50)]


def test_an_epoch_has_at_least_one_step() -> None:
    assert [steps_per_epoch(n, 256) for n in (1, 256, 700)] == [1, 1, 3]


def test_class_weights_make_both_classes_weigh_alike() -> None:
    labels, alike = torch.tensor([1, 0, 0, 0]), torch.ones(4)
    weights = class_weights(labels, alike)
    with_old_loans = class_weights(labels, torch.tensor([1.0, 1.0, 0.5, 0.5]))

    assert weights[1].item() == pytest.approx(3 * weights[0].item())
    assert with_old_loans[1].item() == pytest.approx(2 * with_old_loans[0].item())
