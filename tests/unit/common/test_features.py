"""The encoder: indices, scaling, derived inputs, JSON."""

import json
from typing import Any

import numpy as np
from loanloop_common.features import (
    FIRST_VALUE,
    MASK,
    MISSING,
    UNKNOWN,
    CategoryInput,
    Encoder,
    NumberInput,
    columns_of,
)
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Derived
from loanloop_common.portfolio_file import load_portfolio

ENCODER = Encoder(
    categories=(
        CategoryInput("state", ("CA", "TX")),
        CategoryInput("franchise", (False, True)),
        CategoryInput("industry", ("72",)),
        CategoryInput("same", (False, True)),
    ),
    numbers=(
        NumberInput("term", log=False, low=0.0, high=100.0, mean=50.0, std=10.0, exact=(60.0, 84.0)),
        NumberInput("share", log=False, low=0.0, high=1.0, mean=0.0, std=1.0, exact=(0.75,)),
    ),
    derived=(
        Derived(name="industry", op="prefix", of=("naics",), length=2),
        Derived(name="same", op="equal", of=("state", "bank_state")),
        Derived(name="share", op="ratio", of=("part", "whole")),
    ),
)
COLUMNS: dict[str, list[Any]] = {
    "state": ["CA", "NY", None],
    "bank_state": ["CA", "CA", "CA"],
    "franchise": [True, False, None],
    "naics": ["722110", "9", None],
    "term": [84, 500, None],
    "part": [75, 1, 0],
    "whole": [100, 0, 0],
}


def test_a_batch_brings_exactly_its_sources() -> None:
    assert set(ENCODER.sources) == set(COLUMNS)


def test_known_unknown_and_missing_categories_have_indices_of_their_own() -> None:
    x_cat = ENCODER.encode_columns(COLUMNS).x_cat

    assert x_cat[:, 0].tolist() == [FIRST_VALUE, UNKNOWN, MISSING]
    assert x_cat[:, 1].tolist() == [FIRST_VALUE + 1, FIRST_VALUE, MISSING]
    assert x_cat[:, 2].tolist() == [FIRST_VALUE, UNKNOWN, MISSING]
    assert x_cat[:, 3].tolist() == [FIRST_VALUE + 1, FIRST_VALUE, MISSING]
    assert len({MISSING, UNKNOWN, MASK, FIRST_VALUE}) == 4


def test_numbers_are_clipped_to_the_training_range_and_scaled() -> None:
    x_num = ENCODER.encode_columns(COLUMNS).x_num

    assert x_num.dtype == np.float32
    assert x_num[:, 0].tolist() == np.array([3.4, 5.0, 0.0], np.float32).tolist()


def test_frequent_exact_values_have_an_index_of_their_own() -> None:
    x_exact = ENCODER.encode_columns(COLUMNS).x_exact

    assert x_exact[:, 0].tolist() == [FIRST_VALUE + 1, UNKNOWN, MISSING]


def test_a_ratio_to_zero_is_missing() -> None:
    assert ENCODER.encode_columns(COLUMNS).x_exact[:, 1].tolist() == [FIRST_VALUE, MISSING, MISSING]


def test_json_gives_the_same_encoder_back() -> None:
    again = Encoder.from_dict(json.loads(json.dumps(ENCODER.to_dict())))

    assert again == ENCODER
    parts, expected = again.encode_columns(COLUMNS), ENCODER.encode_columns(COLUMNS)
    assert [part.tobytes() for part in parts] == [part.tobytes() for part in expected]


def test_an_empty_batch_has_the_right_shape() -> None:
    empty = ENCODER.encode_columns({name: [] for name in COLUMNS})

    assert (empty.x_cat.shape, empty.x_num.shape, empty.x_exact.shape) == ((0, 4), (0, 2), (0, 2))


def test_columns_of_decoded_features_keep_their_order() -> None:
    codec = LoanCodec(load_portfolio("sba"))
    example = codec.example()
    features = [codec.convert(example | {"features": example["features"] | {"employees": n}}).features for n in (4, 2)]

    assert columns_of(features, ["state", "employees"]) == {"state": ["CA"] * 2, "employees": [4, 2]}
