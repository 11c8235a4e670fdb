"""Cells of a loan file as numbers, whatever is written in them."""

import math
import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from loanloop_common.portfolio import Feature
from loanloop_ingest.domain.cells import feature_value

WITHIN_S = 30  # each way to share out so many digits takes minutes; one pass, and starting Python, a second
PROGRAM = """
from loanloop_common.errors import InvalidField
from loanloop_common.portfolio import Feature
from loanloop_ingest.domain.cells import feature_value
try:
    feature_value(Feature(name="amount", kind="number"), {cell})
except InvalidField:
    pass
print("read")
"""
AMOUNT = Feature(name="amount", kind="number")
# As a file means a number, and as Python's regular expressions give back what they took until they find it.
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


@pytest.mark.parametrize(
    "cell",
    [
        """"1" * 100_000 + "x" """,
        """"1" * 50_000 + "." + "1" * 50_000 + "x" """,
        """"1e" + "1" * 100_000 + "x" """,
        """" " * 100_000 + "x" """,
        """"1" + " " * 100_000 + "x" """,
        """"1" * 100_000 + "," + "1" * 100_000 + " " * 100_000 + "x" """,
        """"," * 100_000 + "x" """,
    ],
)
def test_a_long_cell_that_is_no_number_is_read_soon(cell: str) -> None:
    """In a process of its own: a search that takes too long holds Python's lock, and no limit in here could end it."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(cell=cell)],
        timeout=WITHIN_S,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.stdout.split() == ["read"], ended.stderr


@given(st.text(st.sampled_from("01.eE+- x\n_"), max_size=10))
@example(" +1.e-1 ")
@example("1e999")
@example(".")
def test_what_a_file_means_by_a_number_becomes_one_and_nothing_else(cell: str) -> None:
    expected: float | str = cell
    if NUMBER.fullmatch(cell):
        number = float(cell)
        expected = number if math.isfinite(number) else str(number)
    assert feature_value(AMOUNT, cell) == expected
