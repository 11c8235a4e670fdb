"""A file of loans that covers no split is refused, by what it has and what it would need."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import ensemble, pretraining, quality
from bench.covering import NoSplitCovered
from bench.registry import Options
from bench.workload import PORTFOLIO


@pytest.mark.parametrize("run", [quality.run, pretraining.run, ensemble.run])
def test_a_file_of_too_few_years_is_refused(run: Callable[[Options], Any], tmp_path: Path) -> None:
    columns: dict[str, Any] = {f.name: [f.example] * 2 for f in PORTFOLIO.features.values()}
    columns |= {"approved_at": [date(2011, 1, 1), date(2012, 1, 1)], "defaulted": [True, False]}
    pq.write_table(pa.table(columns), tmp_path / "mine.parquet")

    with pytest.raises(NoSplitCovered, match=r"loans of 2011, 2012, .*2001–2006 → 2007"):
        run(Options(long=False, say=lambda _: None, loans=tmp_path / "mine.parquet"))
