"""The loans of the benchmark `training` are those of the file that it is given."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.training_loans import loans
from bench.training_read import rows
from bench.workload import PORTFOLIO


def write_loans(path: Path) -> None:
    columns: dict[str, Any] = {f.name: [f.example] * 3 for f in PORTFOLIO.features.values()}
    columns["state"] = ["CA", "TX", "NY"]
    columns["approved_at"] = [date(2003, 1, 1), date(2001, 1, 1), date(2002, 1, 1)]
    columns["defaulted"] = [True, False, False]
    pq.write_table(pa.table(columns), path)


def test_loans_come_by_date_and_again_where_more_are_asked_for(tmp_path: Path) -> None:
    write_loans(tmp_path / "mine.parquet")

    data = loans(5, tmp_path / "mine.parquet")

    assert data.columns["state"] == ["TX", "NY", "CA", "TX", "NY"]
    assert data.defaulted.tolist() == [False, False, True, False, False]
    assert data.occurred_at[2] == np.datetime64("2003-01-01")


def test_rows_that_are_stored_to_be_read_are_the_file_s(tmp_path: Path) -> None:
    write_loans(tmp_path / "mine.parquet")

    stored = list(rows(4, tmp_path / "mine.parquet"))

    assert [row[0] for row in stored] == ["000000000", "000000001", "000000002", "000000003"]
    assert [row[7] for row in stored] == [True, False, False, True]
    assert '"state": "TX"' in stored[1][3]
