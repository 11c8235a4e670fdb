"""What the demo ends with: figures, each with its preset, checks, and where to look next."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from loanloop.demo.checks import mean_before_and_after, swap_after_breach
from loanloop.demo.result import Result
from loanloop.observe.chart import chart
from loanloop.observe.for_machines import as_json
from loanloop.observe.snapshot import Snapshot
from loanloop.observe.view import alert_lines, metric_title, versions_table
from loanloop.observe.words import day_of, figure
from loanloop.runtime.first_steps import FirstSteps


def report_view(result: Result, *, width: int) -> RenderableType:
    snapshot = result.snapshot
    return Group(
        Text(f"\nVersions (every figure: preset {snapshot.rule.portfolio}, gate out of time)", "bold"),
        versions_table(snapshot),
        *_swap_lines(result),
        Text(),
        metric_title(snapshot),
        chart(snapshot.rule, snapshot.days, snapshot.deployments, snapshot.breaches, width=width, height=10),
        *_before_and_after(snapshot),
        *_side_by_side_lines(result),
        *_warning_lines(result),
        *alert_lines(snapshot, at_most=3),
        Text("\nAccounts", "bold"),
        *(Text(f" {'✓' if c.holds else '✗'} {c.what}", "green" if c.holds else "bold red") for c in result.checks),
        *(Text(f"   {failure}", "red") for failure in result.rest.failures),
        Text(f"\n{_verdict(result)} It took {result.took_s:.0f} s.", "bold green" if result.holds else "bold red"),
    )


def _verdict(result: Result) -> str:
    if result.holds:
        return "All of it holds."
    n_broken = sum(not check.holds for check in result.checks)
    return f"{n_broken} of {len(result.checks)} checks do not hold."


def _swap_lines(result: Result) -> Iterator[Text]:
    for deployment in result.snapshot.deployments:
        seconds = result.swap_s.get(str(deployment.deployment_seq))
        if seconds is None:
            continue
        what = f"in place of {deployment.previous}" if deployment.previous else "the first"
        yield Text(
            f"{deployment.version} ({what}): first decision {seconds:.2f} s after its deployment was committed", "dim"
        )
    rest = result.rest
    if (median := rest.percentile_ms(0.5)) is not None and (p99 := rest.percentile_ms(0.99)) is not None:
        by_version = ", ".join(f"{version} {n:,}" for version, n in sorted(rest.by_version.items()))
        yield Text(f"REST under that load: median {median:.0f} ms, 99 % within {p99:.0f} ms; by {by_version}", "dim")


def _before_and_after(snapshot: Snapshot) -> Iterator[Text]:
    swap = swap_after_breach(snapshot)
    before, after = mean_before_and_after(snapshot, swap)
    if swap is not None:
        name = f"{snapshot.rule.metric_name} of {snapshot.rule.window_days} days"
        yield Text(
            f"{name}, preset {snapshot.rule.portfolio}: {figure(before)} in the last month of {swap.previous}, "
            f"{figure(after)} since {swap.version}"
        )


def _side_by_side_lines(result: Result) -> Iterator[Text]:
    both, preset = result.side_by_side, result.snapshot.rule.portfolio
    if both is None:
        return
    yield Text(
        f"On the same {both.n_loans:,} loans of {day_of(both.first)} to {day_of(both.last)} (preset {preset}): "
        f"{both.frozen} frozen ROC-AUC {both.frozen_roc_auc:.3f}, F1 {both.frozen_f1:.3f}; "
        f"{both.live} ROC-AUC {both.live_roc_auc:.3f}, F1 {both.live_f1:.3f}",
        "cyan",
    )


def _warning_lines(result: Result) -> Iterator[Text]:
    for warning in result.audit_warnings.values():
        yield Text(f"audit: {warning}", "yellow")
    for field, reason in result.snapshot.rule.warnings:
        yield Text(f"{field} is in the model all the same: {reason}", "yellow")


def print_next_steps(console: Console, data_dir: Path, steps: FirstSteps, *, command: str) -> None:
    """Each line to paste whole, however narrow the terminal. `command` is how `loanloop` was called."""
    lines = [
        Text("\nWhere to look next", "bold"),
        *_paste("go on with these data and the live model", f"{command} up --data-dir {data_dir}"),
        *_paste("then, in another terminal, see it live", f"{command} watch --data-dir {data_dir}"),
        *_paste("send a loan to Kafka", steps.produce),
        *_paste("ask for a decision by REST", steps.predict),
        *_paste("see the decisions", steps.consume),
    ]
    for line in lines:
        console.print(line, soft_wrap=True)


def _paste(what: str, line: str) -> Iterator[Text]:
    yield Text(f"{what}:")
    yield Text(f"  {line}", "cyan")


def report_json(result: Result) -> dict[str, Any]:
    return {
        "holds": result.holds,
        "checks": [asdict(check) for check in result.checks],
        "took_s": round(result.took_s, 1),
        "sent": asdict(result.sent),
        "rest": {
            "sent": result.rest.sent,
            "failed": result.rest.failed,
            "by_version": dict(result.rest.by_version),
            "median_ms": result.rest.percentile_ms(0.5),
            "p99_ms": result.rest.percentile_ms(0.99),
        },
        "swap_s": result.swap_s,
        "side_by_side": asdict(result.side_by_side) if result.side_by_side else None,
        "audit_warnings": result.audit_warnings,
        "status": as_json(result.snapshot),
    }
