"""The page of all results: its tables, whatever their cells hold, and its plots."""

from pathlib import Path

import pytest
from matplotlib import pyplot
from matplotlib.patches import Rectangle

from bench.report import drawn, goals_table, table, write_report
from bench.result import Found, Goal, Result, ResultDamaged


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_figures_that_quality_decides_on_do_not_look_alike() -> None:
    rows = table([{"roc_auc": value} for value in (0.7885, 0.7879, 12.34, 999.96, 25_600.4)])

    assert [cells(row)[0] for row in rows[2:]] == ["0.7885", "0.7879", "12.34", "1,000", "25,600"]


def test_a_goal_that_is_missed_by_little_does_not_look_reached() -> None:
    goals = [Goal("ratio", 0.9996, 1.0), Goal("failed requests", 12_345, 0, "<="), Goal("peer", None, 1.0)]

    rows = goals_table([{"name": "a", "goals": [{**vars(goal), "reached": goal.reached} for goal in goals]}])

    assert [cells(row)[3:] for row in rows[2:]] == [["0.9996", "**no**"], ["12,345", "**no**"], ["-", "**no**"]]


def test_a_note_of_several_lines_and_bars_stays_one_cell_of_one_row() -> None:
    rows = table([{"what": "a peer", "note": "it ended: Traceback\n  int | None\r\nTypeError"}])

    assert rows[2:] == [r"| a peer | it ended: Traceback<br>  int \| None<br>TypeError |"]


def test_a_report_of_no_result_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("result", "report"):
        monkeypatch.setattr(f"bench.{module}.RESULTS", tmp_path / "results")

    assert write_report().read_text().startswith("# Benchmarks")


def test_a_damaged_result_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "swap.json").write_text('{"name": "swap", "goa')
    monkeypatch.setattr("bench.result.RESULTS", tmp_path)

    with pytest.raises(ResultDamaged, match=r"swap\.json is damaged .* run `loanloop bench swap` again"):
        write_report()


def test_bars_of_equal_labels_have_places_of_their_own() -> None:
    rows = [{"what": "stored", "us": 90.0}, {"what": "memory"}, {"what": "stored", "us": 110.0}]

    figure = drawn({"title": "scale", "bars": ("what", "us"), "rows": rows})
    (axes,) = figure.axes
    bars = [patch.get_bbox() for patch in axes.patches if isinstance(patch, Rectangle)]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    pyplot.close(figure)

    assert [bar.width for bar in bars] == [90.0, 110.0]
    assert bars[0].y1 <= bars[1].y0
    assert labels == ["stored", "stored"]


def test_a_result_says_which_versions_of_which_peers_it_was_taken_beside() -> None:
    found = Found((), [], {}, peers=("lightgbm", "pytorch_tabular"))

    kept = Result("quality", "a title", found, long=False, took_s=1.0).to_dict()

    assert {name: [*versions] for name, versions in kept["peer_versions"].items()} == {
        "lightgbm": ["lightgbm", "numpy"],
        "pytorch_tabular": ["numpy", "pytorch-tabular", "torch"],
    }
    assert kept["versions"]["kafka"]
    assert "peers" not in kept
