"""What a search may try, which trial is the best, and when a training uses it."""

import pytest
from loanloop_common.portfolio import ModelConfig, Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_trainer.domain.search_space import (
    Choice,
    Found,
    Range,
    Trial,
    best_of,
    hyperparameters_for,
    own_values,
    space_around,
)

VALUES = {"batch_size": 512, "learning_rate": 1e-3, "epochs": 4}


@pytest.fixture
def portfolio() -> Portfolio:
    return load_portfolio("sba")


def found(portfolio: Portfolio, **changes: object) -> Found:
    facts = {"schema_hash": portfolio.schema_hash, "base": portfolio.model.model_dump(mode="json"), "values": VALUES}
    return Found(tuning_id=3, **{**facts, **changes})  # type: ignore[arg-type]


def test_batch_size_and_learning_rate_are_searched() -> None:
    space = space_around(ModelConfig())

    assert space["batch_size"] == Choice((128, 256, 512, 1024))
    assert space["learning_rate"] == Range(3e-4, 1e-2, log=True)


@pytest.mark.parametrize("model", [ModelConfig(), ModelConfig(batch_size=7, epochs=99, learning_rate=0.5, dropout=0.9)])
def test_the_values_of_the_file_are_in_the_space(model: ModelConfig) -> None:
    space = space_around(model)

    for name, value in own_values(model, space).items():
        part = space[name]
        assert value in part.values if isinstance(part, Choice) else part.low <= value <= part.high


@pytest.mark.parametrize(("d_model", "n_heads", "widths"), [(32, 4, (16, 24, 32)), (8, 2, (4, 6, 8)), (4, 4, (4,))])
def test_embeddings_get_narrower_only_and_as_the_heads_allow(
    d_model: int, n_heads: int, widths: tuple[int, ...]
) -> None:
    assert space_around(ModelConfig(d_model=d_model, n_heads=n_heads))["d_model"] == Choice(widths)


def test_what_is_switched_off_by_zero_stays_off() -> None:
    assert "weight_decay" not in space_around(ModelConfig(weight_decay=0))


def test_found_values_go_over_those_of_the_file(portfolio: Portfolio) -> None:
    used = hyperparameters_for(portfolio, found(portfolio))

    assert used.config == portfolio.model.model_copy(update=VALUES)
    assert used.source == "tuning 3"


def test_without_a_search_the_file_says_it_all(portfolio: Portfolio) -> None:
    used = hyperparameters_for(portfolio, None)

    assert (used.config, used.source) == (portfolio.model, "portfolio file")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema_hash": "of other features"}, "portfolio file (tuning 3 is of other features)"),
        ({"base": {"n_layers": 2}}, "portfolio file ([model] has changed since tuning 3)"),
        ({"base": {"setting_of_other_code": 2}}, "portfolio file ([model] has changed since tuning 3)"),
    ],
)
def test_result_for_something_else_is_not_used(portfolio: Portfolio, changes: dict[str, object], reason: str) -> None:
    used = hyperparameters_for(portfolio, found(portfolio, **changes))

    assert (used.config, used.source) == (portfolio.model, reason)


def test_setting_that_is_newer_than_the_search_counts_with_its_default(portfolio: Portfolio) -> None:
    base = portfolio.model.model_dump(mode="json")
    del base["class_weights"]

    assert hyperparameters_for(portfolio, found(portfolio, base=base)).source == "tuning 3"


def test_what_no_search_depends_on_may_say_what_only_other_code_knows(portfolio: Portfolio) -> None:
    base = {**portfolio.model.model_dump(mode="json"), "mixed_precision": "auto"}

    assert hyperparameters_for(portfolio, found(portfolio, base=base)).source == "tuning 3"


def test_values_that_are_no_hyperparameters_are_refused(portfolio: Portfolio) -> None:
    with pytest.raises(ValueError, match="n_heads"):
        hyperparameters_for(portfolio, found(portfolio, values={"d_model": 30}))


def test_best_trial_is_the_earliest_that_came_to_its_end() -> None:
    trials = [
        Trial(0, "complete", {}, (0.6, 0.7, 0.65), 1),
        Trial(1, "pruned", {}, (0.9,), 1),
        Trial(2, "complete", {}, (0.5, 0.7), 1),
        Trial(3, "failed", {}, (), 1),
    ]

    assert best_of(trials) == trials[0]
    assert best_of(trials[1:2]) is None
