"""Other quarters of all loans are drawn by other seeds, and never take the place of the one that is shipped."""

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

SCRIPT = Path(__file__).parents[2] / "portfolios" / "sba" / "make_sample.py"
SAMPLE = SCRIPT.with_name("loans.parquet")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """In a folder of its own, so that one that overwrites does no harm."""
    (tmp_path / "loans.parquet").write_bytes(b"shipped")
    return Path(shutil.copy(SCRIPT, tmp_path))


def test_another_seed_asks_for_a_file_of_its_own(script: Path) -> None:
    done = subprocess.run([sys.executable, script, SAMPLE, "--seed", "1"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "say by --out where they go" in done.stderr
    assert script.with_name("loans.parquet").read_bytes() == b"shipped"


def test_seed_0_of_the_sample_is_the_sample_and_other_seeds_draw_a_quarter_of_it(script: Path) -> None:
    out = script.with_name("other.parquet")
    subprocess.run([sys.executable, script, SAMPLE], capture_output=True, check=True)
    subprocess.run([sys.executable, script, SAMPLE, "--seed", "1", "--out", out], capture_output=True, check=True)

    shipped = pq.read_table(SAMPLE)
    assert pq.read_table(script.with_name("loans.parquet")).equals(shipped)
    assert pq.read_metadata(out).num_rows / len(shipped) == pytest.approx(0.25, abs=0.01)
