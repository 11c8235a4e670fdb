"""All kept results as one page, bench/results/REPORT.md, and a plot for each that has bars."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.result import RESULTS, kept

mpl.use("svg")
from matplotlib import pyplot


def write_report() -> Path:
    results = kept()
    lines = ["# Benchmarks", "", *goals_table(results)]
    for result in results:
        lines += ["", *_section(result)]
    RESULTS.mkdir(exist_ok=True)  # none may have given a result
    path = RESULTS / "REPORT.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def goals_table(results: list[dict[str, Any]]) -> list[str]:
    rows = [
        {
            "benchmark": result["name"],
            "what": goal["what"],
            "goal": f"{goal['is_reached_when']} {goal['bound']:g}",
            "measured": "-" if goal["value"] is None else goal["value"],
            "reached": _verdict(goal),
        }
        for result in results
        for goal in result["goals"]
    ]
    return table(rows)


def _verdict(goal: dict[str, Any]) -> str:
    if why := goal.get("not_judged"):  # a result that was kept before there was any has none
        return f"not judged: {why}"
    return "yes" if goal["reached"] else "**no**"


def _section(result: dict[str, Any]) -> list[str]:
    machine = result["machine"]
    about = (
        f"{result['at']}, {result['took_s']:g} s, {machine['cores']} cores of {machine['processor']}, "
        f"load at the end {machine['load_average']:.1f}; {_facts(result['sizes'])}."
    )
    lines = [f"## {result['name']}: {result['title']}", "", about, "", *table(result["rows"])]
    if columns := result.get("columns"):  # neither of the two has a result that was kept before there were any
        lines += ["", *(f"- `{name}`: {meaning}" for name, meaning in columns.items())]
    lines += [f"\n{note}" for note in result["notes"]]
    if result["bars"]:
        lines += ["", f"![{result['title']}]({_plot(result).name})"]
    for picture in result.get("pictures", ()):
        lines += ["", f"![{picture}]({picture})"]
    return lines


def table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    return [_line(columns), _line(["---"] * len(columns)), *map(_line, cells)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else _on_one_line(str(value))


def _on_one_line(text: str) -> str:
    """A row of a Markdown table ends with its line, and a cell at a bar."""
    return "<br>".join(text.replace("|", r"\|").splitlines())


def _facts(sizes: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_cell(value)}" for name, value in sizes.items())


def _plot(result: dict[str, Any]) -> Path:
    path = RESULTS / f"{result['name']}.svg"
    figure = drawn(result)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def drawn(result: dict[str, Any]) -> Figure:
    label, value = result["bars"]
    rows = [row for row in result["rows"] if row.get(value) is not None]
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.3 * len(rows)), layout="constrained")
    labels = [str(row[label]) for row in rows]
    axes.barh(range(len(rows)), [row[value] for row in rows], tick_label=labels)  # by label, equal ones share a place
    axes.invert_yaxis()
    axes.set_xlabel(value.replace("_", " "))
    axes.set_title(result["title"])
    return figure
