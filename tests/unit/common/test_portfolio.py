"""Portfolio files: what they say, and how they say what is wrong with them."""

from pathlib import Path

import pytest
from loanloop_common.portfolio_file import PortfolioInvalid, load_portfolio
from pydantic import ValidationError

MINIMAL = """
name = "cars"
[features.income]
kind = "number"
[features.make]
kind = "category"
[policy]
maturity_days = 30
"""


def written(folder: Path, text: str, name: str = "cars.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_model_sees_an_allowed_field_and_says_why() -> None:
    portfolio = load_portfolio("sba")

    assert "term_months" in portfolio.model_inputs
    assert [field for field, _ in portfolio.warnings] == ["term_months"]
    assert "bank" not in portfolio.model_inputs


def test_a_field_known_only_afterwards_is_left_out_unless_allowed() -> None:
    portfolio = load_portfolio("sba_application")

    assert "term_months" in portfolio.features
    assert "term_months" not in portfolio.model_inputs
    assert portfolio.warnings == ()
    assert {"bank", "zip3", "industry", "guaranteed_share"} <= set(portfolio.model_inputs)


def test_an_extending_file_keeps_what_it_does_not_state() -> None:
    base, extending = load_portfolio("sba"), load_portfolio("sba_application")

    assert extending.policy.metric == "roc_auc"
    assert extending.policy.maturity_days == base.policy.maturity_days
    assert extending.features["state"] == base.features["state"]


def test_a_derived_input_is_left_out_with_a_source_the_model_may_not_see(tmp_path: Path) -> None:
    text = MINIMAL + '[features.paid]\nkind = "number"\nknown_at = "servicing"\n'
    text += '[derived.paid_share]\nop = "ratio"\nof = ["paid", "income"]\n'

    assert load_portfolio(written(tmp_path, text)).model_inputs == ("income", "make")


def test_the_schema_hash_follows_what_the_model_sees_and_nothing_else(tmp_path: Path) -> None:
    plain = load_portfolio(written(tmp_path, MINIMAL))
    described = load_portfolio(written(tmp_path, MINIMAL.replace("[features.make]", 'unit = "EUR"\n[features.make]')))
    other_policy = load_portfolio(written(tmp_path, MINIMAL.replace("30", "31")))

    assert other_policy.schema_hash == plain.schema_hash
    assert described.schema_hash != plain.schema_hash


@pytest.mark.parametrize(
    ("addition", "said"),
    [
        ('[features.x]\nkind = "colour"', "features.x.kind"),
        ('[features.x]\nkind = "category"\nclosed = true', "needs a list of categories"),
        ('[features.x]\nkind = "number"\nminimum = 2\nmaximum = 1', "are no range"),
        ('[features.x]\nkind = "number"\nscale = "log"', "needs minimum >= 0"),
        ('[features.x]\nkind = "number"\nminimun = 2', "minimun"),
        ('[allow]\nterm = "why not"', "no feature"),
        ('[allow]\nincome = " "', "needs a reason"),
        ('[derived.y]\nop = "ratio"\nof = ["income", "make"]', "needs a number feature named make"),
        ('[derived.y]\nop = "prefix"\nof = ["make"]', "needs a length"),
        ("[model]\nd_model = 30\nn_heads = 4", "multiple of n_heads"),
        ("[model]\nd_model = 2", "model.d_model: .* greater than or equal to 4, not 2$"),
        ("[model]\nd_model = 100000000", "model.d_model: .* less than or equal to 1024, not 100000000$"),
        ("[model]\nlearning_rate = inf", "model.learning_rate: .* a finite number, not inf$"),
        ("[model]\nlearning_rate = nan", "model.learning_rate: .* a finite number, not nan$"),
        ("min_outcomes = 100000000000000000000", "policy.min_outcomes: .* less than or equal to 1000000000"),
        ("cooldown_minutes = 1e300", "policy.cooldown_minutes: .* less than or equal to"),
        # Batches of two leave a single loan over, which in pretraining has no other to be told from.
        ("[model]\npretrain_batch_size = 3", "model.pretrain_batch_size: .* greater than or equal to 4"),
        ("[model]\nbatch_size = 3", "model.batch_size: .* greater than or equal to 4"),
        ("[policy]", "is not TOML"),
        ("breach_bellow = 0.8", r"policy.breach_bellow: is no setting; do you mean breach_below\?"),
        ("colour = 1", "policy.colour: is no setting$"),
        ('[features.x]\nkin = "number"', r"features.x.kin: is no setting; do you mean kind\?"),
        ("[modell]", r"modell: is no setting; do you mean model\?"),
        ("[features.x]", 'features.x.kind: is missing; write kind = "number"'),
        (
            '[features.x]\nkind = "number"\nminimum = "18"',
            'features.x: minimum = "18" is text; write it without quotes',
        ),
        ('[features.x]\nkind = "number"\nuse = "no"', 'use = "no" is text; write it without quotes'),
    ],
)
def test_a_wrong_file_is_refused_in_words(tmp_path: Path, addition: str, said: str) -> None:
    with pytest.raises(PortfolioInvalid, match=said):
        load_portfolio(written(tmp_path, f"{MINIMAL}\n{addition}\n"))


@pytest.mark.parametrize(
    ("left_out", "instead", "said"),
    [
        ("[policy]\nmaturity_days = 30", "", r"policy: is missing; write \[policy\] with maturity_days = 180"),
        ("maturity_days = 30", "", "policy.maturity_days: is missing; write maturity_days = 180"),
        ('name = "cars"', "", 'name: is missing; write name = "my_loans"'),
        ('name = "cars"', 'name = " "', 'name is empty; write name = "my_loans"'),
        ("= 30", "= 100000000", "policy.maturity_days: .* less than or equal to 36500, not 100000000$"),
        ("[policy]", "[polcy]", r"polcy: is no setting; do you mean policy\?"),
    ],
)
def test_a_missing_line_is_said_with_an_example(tmp_path: Path, left_out: str, instead: str, said: str) -> None:
    with pytest.raises(PortfolioInvalid, match=said):
        load_portfolio(written(tmp_path, MINIMAL.replace(left_out, instead)))


def test_with_other_hyperparameters_the_rest_stays_and_what_they_break_is_refused(tmp_path: Path) -> None:
    plain = load_portfolio(written(tmp_path, MINIMAL))

    changed = plain.with_model(d_model=12, epochs=9)

    assert changed.model.model_dump() == plain.model.model_dump() | {"d_model": 12, "epochs": 9}
    assert changed.model_dump(exclude={"model"}) == plain.model_dump(exclude={"model"})
    for broken in ({"d_model": 30}, {"epoch": 9}, {"dropout": 1.0}):
        with pytest.raises(ValidationError):
            plain.with_model(**broken)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(PortfolioInvalid, match="sba, sba_application"):
        load_portfolio("sbx")


def test_a_file_that_extends_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PortfolioInvalid, match="extends itself"):
        load_portfolio(written(tmp_path, 'extends = "cars.toml"'))
