"""`loanloop models`: every version, what it was trained on, what the gate said and when it was live."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loanloop.options import DataDir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loanloop_evaluator.store.models import VersionFacts
    from rich.table import Table


def models(
    data_dir: DataDir = Path(".loanloop"),
    json: Annotated[bool, typer.Option("--json", help="For machines: everything, as one JSON object.")] = False,
) -> None:
    """Versions with state, data window, the gate's figures and when each was live, by event time and by the clock.

    State: **live**; **pinned**, live until `loanloop unpin`; **candidate**, not judged yet or kept out by a pin;
    **rejected** by the gate; **superseded** by a newer version. The JSON has each one's manifest, which is all that is
    known of it: hyperparameters and where they are from, calibration, threshold, audit, versions of packages.

    **Examples**

    - `loanloop models`
    - `loanloop models --json | python -m json.tool`
    """
    from rich.console import Console

    preset, facts = asyncio.run(_fetch(data_dir))
    described = [_described(version, _newest_deployed(facts)) for version in facts]
    if json:
        import msgspec

        print(msgspec.json.encode({"portfolio": preset, "versions": described}).decode())
    elif described:
        Console().print(_table(preset, described))
        for line in _remarks(described):
            print(line)
    else:
        print("There is no model yet: `loanloop status` says what the training waits for.")


async def _fetch(data_dir: Path) -> tuple[str, list["VersionFacts"]]:
    from loanloop_evaluator.store.models import fetch_version_facts

    from loanloop.operating import operated

    async with operated(data_dir, read_only=True) as operating, operating.pool.acquire() as connection:
        return operating.portfolio.name, await fetch_version_facts(connection, operating.portfolio.name)


def _newest_deployed(facts: list["VersionFacts"]) -> int:
    return max((version.number for version in facts if version.live), default=0)


def _described(version: "VersionFacts", newest_deployed: int) -> dict[str, Any]:
    from loanloop_evaluator.domain.deployment import state_of

    periods = [None if period["to"] else period["pinned"] for period in version.live]
    metrics = version.metrics or {}
    judged = version.passed is not None
    return {
        "version": version.version,
        "state": state_of(version.number, passed=version.passed, periods=periods, newest_deployed=newest_deployed),
        "train_from": version.train_from.isoformat(),
        "train_to": version.train_to.isoformat(),
        "n_rows": version.n_rows,
        "created_at": version.created_at.isoformat(),
        "gate": {
            "passed": version.passed,
            "reason": version.reason,
            "opponent": version.opponent,
            "n_loans": version.n_loans,
            "metric": metrics.get("metric"),
            "value": version.value,
            "lower": version.lower,
            "upper": version.upper,
            "f1": metrics.get("f1"),
            "roc_auc": metrics.get("roc_auc"),
        }
        if judged
        else None,
        "live": version.live,
        "manifest": version.manifest,
    }


def _table(preset: str, described: list[dict[str, Any]]) -> "Table":
    """Fits into 80 columns."""
    from rich import box
    from rich.table import Table

    table = Table(title=f"Models of preset {preset}", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for name in ("", "state", "trained on", "loans", "gate:\nloans", "F1,\nROC-AUC", "live,\nevent time", "live"):
        numeric = name.startswith(("loans", "gate", "F1"))
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for model in described:
        gate, live = model["gate"] or {}, model["live"]
        table.add_row(
            model["version"],
            model["state"],
            _span(model["train_from"], model["train_to"], _day),
            f"{model['n_rows']:,}",
            f"{gate['n_loans']:,}" if gate else "-",
            "\n".join(_figure(gate.get(name)) for name in ("f1", "roc_auc")),
            "\n".join(_span(period["from_event_time"], period["to_event_time"], _day) for period in live),
            "\n".join(_span(period["from"], period["to"], _minute) for period in live),
            end_section=True,
        )
    return table


def _remarks(described: list[dict[str, Any]]) -> "Iterator[str]":
    """What is out of the ordinary: an ensemble; why one was rejected, and who made it live all the same."""
    from loanloop.observe.words import named_with_login

    for model in described:
        if weights := model["manifest"].get("weights"):
            shares = ", ".join(f"{share:.0%} {name}" for name, share in weights.items())
            yield f"{model['version']} is an ensemble, its log-odds {shares}"
        gate = model["gate"]
        if gate is None or gate["passed"]:
            continue
        yield f"{model['version']} was rejected: {gate['reason']}"
        for period in model["live"]:
            if period["kind"] == "promote":
                by = named_with_login(period["actor"], period["login"])
                yield f"{model['version']} was promoted against the gate by {by}: {period['reason']}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _span(first: str | None, last: str | None, shown: "Callable[[str], str]") -> str:
    """Two lines; the second one is empty while it lasts."""
    return f"{shown(first) if first else '-'}\n{'– ' + shown(last) if last else ''}"


def _day(moment: str) -> str:
    return moment[:10]


def _minute(moment: str) -> str:
    return moment[5:16].replace("T", " ")
