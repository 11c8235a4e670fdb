"""LightGBM on loans in files: `lightgbm.py FOLDER`; run with -P, since this file has the package's name.

FOLDER has `train`, `validation` and `judged.parquet` with one column for each input, `train` also `defaulted`; and
`settings.json` with seed, threads and the names of the categories. Answers with `log_odds.npz`: validation and judged.
"""

import json
import sys
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


def main() -> None:
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text())
    train = pq.read_table(folder / "train.parquet")
    defaulted = train["defaulted"].to_numpy(zero_copy_only=False)
    train = train.drop_columns(["defaulted"])
    values = {name: train[name].combine_chunks().drop_null().unique() for name in settings["categories"]}
    model = lightgbm.LGBMClassifier(
        **PARAMETERS, random_state=settings["seed"], n_jobs=settings["threads"], verbosity=-1
    )
    categories = [train.column_names.index(name) for name in settings["categories"]]
    model.fit(matrix(train, values), defaulted, categorical_feature=categories)
    log_odds = {
        part: model.booster_.predict(matrix(pq.read_table(folder / f"{part}.parquet"), values), raw_score=True)
        for part in ("validation", "judged")
    }
    np.savez(folder / "log_odds.npz", **log_odds)


if __name__ == "__main__":
    main()
