"""`loanloop bench`: what each benchmark is about, on one line of a terminal, and one that fails leaves the others."""

from pathlib import Path

import pytest
from loanloop.main import app
from loanloop_common.errors import LoanloopError
from typer.testing import CliRunner

from bench import registry, result
from bench.peers import PeerUnavailable
from bench.registry import NAMES, Options
from bench.result import Found, Result


def test_the_list_has_a_line_of_80_columns_at_most_for_each_benchmark() -> None:
    lines = CliRunner().invoke(app, ["bench", "--list"]).stdout.splitlines()

    assert [line.split()[0] for line in lines] == [*NAMES]
    assert [line for line in lines if len(line) > 80] == []


def test_a_benchmark_that_cannot_run_leaves_the_others_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, options: Options) -> Result:
        if name == "quality":
            raise PeerUnavailable("lightgbm can't be installed: no network")
        if name == "stream":
            raise RuntimeError("7 of 10 records are committed by predictor, and no more in 60 s")
        return Result(name, "a title", Found((), [], {}), long=False, took_s=1.0)

    monkeypatch.setattr(registry, "run", run)
    for module in ("bench.result", "bench.report"):
        monkeypatch.setattr(f"{module}.RESULTS", tmp_path)

    ended = CliRunner().invoke(app, ["bench", "quality", "stream", "swap"])

    assert isinstance(ended.exception, LoanloopError)
    assert "not measured: quality, stream;" in str(ended.exception)
    assert "quality: lightgbm can't be installed: no network" in ended.stderr
    assert "stream: 7 of 10 records are committed" in ended.stderr
    assert sorted(path.name for path in result.RESULTS.iterdir()) == ["REPORT.md", "swap.json"]
