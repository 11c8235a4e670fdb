"""`loanloop bench --list`: what each benchmark is about, on one line of a terminal."""

from loanloop.main import app
from typer.testing import CliRunner

from bench.registry import NAMES


def test_the_list_has_a_line_of_80_columns_at_most_for_each_benchmark() -> None:
    lines = CliRunner().invoke(app, ["bench", "--list"]).stdout.splitlines()

    assert [line.split()[0] for line in lines] == [*NAMES]
    assert [line for line in lines if len(line) > 80] == []
