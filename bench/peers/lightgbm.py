"""LightGBM on loans in files: `lightgbm.py FOLDER`; run with -P, since this file has the package's name.

FOLDER has `train`, `validation` and `judged.parquet` with one column for each input, but for the last also `defaulted`
and `weight`; and `settings.json` with seed, threads and the names of the categories. Answers with `log_odds.npz`:
validation, by a model of the training loans, and judged, by one that has learnt the validation loans as well, as the
product's does.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PARAMETERS = {
    "n_estimators": 400,
    "num_leaves": 63,
    "learning_rate": 0.05,
    "min_child_samples": 50,
    "cat_smooth": 50,
}


def matrix(loans: pa.Table, values: dict[str, pa.Array]) -> np.ndarray:
    """(B, K) A category is its number among the training loans' values; missing where it is or is not among them."""
    columns = [
        pc.index_in(column.combine_chunks(), values[name]) if name in values else column
        for name, column in zip(loans.column_names, loans.columns, strict=True)
    ]
    return np.column_stack([column.cast("float64").to_numpy(zero_copy_only=False) for column in columns])


@dataclass(frozen=True)
class Labelled:
    inputs: pa.Table
    defaulted: np.ndarray
    weight: np.ndarray

    @classmethod
    def read(cls, *paths: Path) -> "Labelled":
        loans = pa.concat_tables([pq.read_table(path) for path in paths])
        beside = [loans[name].to_numpy() for name in ("defaulted", "weight")]
        return cls(loans.drop_columns(["defaulted", "weight"]), *beside)


def log_odds(learnt: Labelled, asked: pa.Table, settings: dict) -> np.ndarray:
    values = {name: learnt.inputs[name].combine_chunks().drop_null().unique() for name in settings["categories"]}
    model = lightgbm.LGBMClassifier(
        **PARAMETERS, random_state=settings["seed"], n_jobs=settings["threads"], verbosity=-1
    )
    categories = [learnt.inputs.column_names.index(name) for name in settings["categories"]]
    weight = learnt.weight / learnt.weight.mean()
    model.fit(matrix(learnt.inputs, values), learnt.defaulted, sample_weight=weight, categorical_feature=categories)
    return model.booster_.predict(matrix(asked, values), raw_score=True)


def main() -> None:
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text())
    train, validation, judged = (folder / f"{part}.parquet" for part in ("train", "validation", "judged"))
    np.savez(
        folder / "log_odds.npz",
        validation=log_odds(Labelled.read(train), Labelled.read(validation).inputs, settings),
        judged=log_odds(Labelled.read(train, validation), pq.read_table(judged), settings),
    )


if __name__ == "__main__":
    main()
