"""A figure that is taken in a process of its own, and what is said where there is none."""

import sys
from pathlib import Path

import pytest

from bench.child_process import NoFigures, figures_of

WRITES_AND_WAITS = "import sys, time; print('begun', file=sys.stderr, flush=True); time.sleep(60)"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_the_last_line_has_the_figures_whatever_else_was_printed(tmp_path: Path) -> None:
    program = "import json, os; print('warming up'); print(json.dumps({'seconds': 1.5, 'folder': os.getcwd()}))"

    assert figures_of(python(program), folder=tmp_path) == {"seconds": 1.5, "folder": str(tmp_path)}


def test_a_program_that_fails_says_why_with_the_end_of_its_traceback() -> None:
    with pytest.raises(NoFigures, match=r"python\S* -c .* ended with 1: (?s:.*)ValueError: no such loans$"):
        figures_of(python("raise ValueError('no such loans')"))


def test_of_a_long_traceback_the_last_lines_are_told() -> None:
    with pytest.raises(NoFigures) as failed:
        figures_of(python("import sys; [print('line', i, file=sys.stderr) for i in range(100)]; sys.exit(3)"))

    assert str(failed.value).endswith("line 99")
    assert "ended with 3: line 85\n" in str(failed.value)


def test_a_program_that_prints_nothing_has_no_figures() -> None:
    with pytest.raises(NoFigures, match="printed nothing: nothing in stderr"):
        figures_of(python("pass"))
    with pytest.raises(NoFigures, match="printed nothing: but said this"):
        figures_of(python("import sys; print('but said this', file=sys.stderr)"))


def test_a_program_that_takes_too_long_is_ended_and_what_it_wrote_is_told() -> None:
    with pytest.raises(NoFigures, match="had not ended after 3 s: begun"):
        figures_of(python(WRITES_AND_WAITS), within_s=3.0)
