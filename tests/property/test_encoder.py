"""The encoder takes whatever the decoder lets through, and more."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loanloop_common.features import MASK, Encoder
from loanloop_common.portfolio_file import load_portfolio
from loanloop_trainer.model.encoding import fit_encoder

PORTFOLIO = load_portfolio("sba")
texts = st.none() | st.text(max_size=8) | st.sampled_from(["CA", "TX", "722110", "existing", "Y"])
numbers = st.none() | st.floats() | st.integers(-(2**53), 2**53) | st.sampled_from([0, 84, 84.0, 1e308])
flags = st.none() | st.booleans()
KINDS: dict[str, st.SearchStrategy[Any]] = {"category": texts, "number": numbers, "flag": flags}
loans = st.fixed_dictionaries({feature.name: KINDS[feature.kind] for feature in PORTFOLIO.features.values()})

LARGEST = float(np.finfo(np.float32).max)
beyond_all = st.floats(max_value=-LARGEST, exclude_max=True) | st.floats(min_value=LARGEST, exclude_min=True)
VALID_KINDS = KINDS | {
    "number": st.none() | st.floats(1, 1e8) | st.integers(0, 600) | beyond_all.filter(lambda x: x > 0)
}
valid_loans = st.fixed_dictionaries({f.name: VALID_KINDS[f.kind] for f in PORTFOLIO.features.values()})


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in PORTFOLIO.features}


def fitted() -> Encoder:
    example = {feature.name: feature.example for feature in PORTFOLIO.features.values()}
    return fit_encoder(
        PORTFOLIO, columns_of([example | {"term_months": term} for term in (60, 84, 120) for _ in range(25)])
    )


ENCODER = fitted()


@given(st.lists(loans, min_size=1, max_size=20))
def test_any_value_gets_an_index_the_network_has_and_a_finite_number(rows: list[dict[str, Any]]) -> None:
    batch = ENCODER.encode_columns(columns_of(rows))

    assert np.isfinite(batch.x_num).all()
    for ids, inputs in ((batch.x_cat, ENCODER.categories), (batch.x_exact, ENCODER.numbers)):
        assert (ids >= 0).all()
        assert (ids < [part.n_ids for part in inputs]).all()
        assert (ids != MASK).all()


@given(st.lists(loans, min_size=1, max_size=20), st.integers(0, 19))
def test_a_loan_is_encoded_alike_alone_and_among_others(rows: list[dict[str, Any]], chosen: int) -> None:
    chosen %= len(rows)

    together = ENCODER.encode_columns(columns_of(rows)).rows([chosen])
    alone = ENCODER.encode_columns(columns_of([rows[chosen]]))

    assert [part.tobytes() for part in alone] == [part.tobytes() for part in together]


@given(st.lists(valid_loans, min_size=1, max_size=40))
def test_an_encoder_can_be_fitted_on_any_valid_loans(rows: list[dict[str, Any]]) -> None:
    encoder = fit_encoder(PORTFOLIO, columns_of(rows))

    parts, again = (e.encode_columns(columns_of(rows)) for e in (encoder, Encoder.from_dict(encoder.to_dict())))
    assert [part.tobytes() for part in parts] == [part.tobytes() for part in again]
    assert np.isfinite(parts.x_num).all()


@given(st.lists(valid_loans, min_size=1, max_size=5), beyond_all)
def test_a_value_beyond_all_changes_nothing_for_the_others(rows: list[dict[str, Any]], value: float) -> None:
    """Not even where it comes as often as values that get an index of their own."""
    amounts = [feature.name for feature in PORTFOLIO.features.values() if feature.kind == "number"]
    missing, beyond = ([*rows, *([rows[0] | dict.fromkeys(amounts, v)] * 50)] for v in (None, value))

    with_missing, with_beyond = (fit_encoder(PORTFOLIO, columns_of(some)) for some in (missing, beyond))

    given_alike = [[n for n in encoder.numbers if n.name in amounts] for encoder in (with_missing, with_beyond)]
    assert given_alike[0] == given_alike[1]
    assert np.isfinite(with_beyond.encode_columns(columns_of(beyond)).x_num).all()
