"""`loanloop bench`: speed and quality as ratios to a limit or a peer."""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

_SOURCE = Path(__file__).parents[4]


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Which; without one, all of them.")] = None,
    long: Annotated[bool, typer.Option("--long", help="All loans and more repetitions: hours, not minutes.")] = False,
    loans: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Parquet file for quality, pretraining, ensemble, training and gpu, made as portfolios/sba/README.md "
            "says; else the repository's sample.",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="How often each model of quality, pretraining and ensemble learns, with other seeds."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the names and end.")] = False,
) -> None:
    """Measure this machine: each figure is a ratio to a limit or a peer, taken in the same run.

    Writes `bench/results/NAME.json`, and all results as a page with plots, `bench/results/REPORT.md`. Each benchmark
    ends in ten minutes. Let nothing else run beside it.

    **Examples**

    - `loanloop bench --list`
    - `loanloop bench engines`
    - `loanloop bench quality --long --loans all_loans.parquet`
    """
    registry = _registry()
    if list_:
        for name in registry.NAMES:
            print(f"{name:12} {registry.title(name)}")
        return
    chosen = names or list(registry.NAMES)
    if unknown := sorted(set(chosen) - set(registry.NAMES)):
        raise typer.BadParameter(f"no benchmark {', '.join(unknown)}; there are {', '.join(registry.NAMES)}")
    if seeds is not None and (others := [name for name in names or () if name not in registry.WITH_SEEDS]):
        raise typer.BadParameter(f"--seeds is for {', '.join(registry.WITH_SEEDS)}, not for {', '.join(others)}")
    if loans is not None and (others := [name for name in names or () if name not in registry.WITH_LOANS]):
        raise typer.BadParameter(f"--loans is for {', '.join(registry.WITH_LOANS)}, not for {', '.join(others)}")
    from loanloop_common.errors import LoanloopError

    from bench.report import write_report

    options = registry.Options(long=long, say=_say, loans=loans, n_seeds=seeds)
    failed = [name for name in chosen if not _measured(registry, name, options)]
    print(write_report())
    if failed:
        raise LoanloopError(f"not measured: {', '.join(failed)}; each one's reason stands above")


def _measured(registry: Any, name: str, options: Any) -> bool:
    """Whether it ran to its end; whatever it fails with, the others have their turn."""
    from loanloop_common.errors import LoanloopError

    from bench.result import keep

    print(f"{name} …", file=sys.stderr)
    try:
        result = registry.run(name, options)
        path = keep(result)
    except Exception as error:  # noqa: BLE001
        if not isinstance(error, LoanloopError):
            traceback.print_exc()
        print(f"{name}: {error}", file=sys.stderr)
        return False
    for goal in result.found.goals:
        value = "not measured" if goal.value is None else f"{goal.value:.4g}"
        why_not = f"; not judged: {goal.not_judged}" if goal.not_judged else ""
        missed = ", not reached" if not goal.reached and not goal.not_judged else ""
        print(f"{name}: {goal.what}: {value} ({goal.is_reached_when} {goal.bound:g}{why_not}{missed})")
    print(f"{name}: {path}", file=sys.stderr)
    return True


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _registry() -> Any:
    """The module, of the source tree alone."""
    from loanloop_common.errors import LoanloopError

    if not (_SOURCE / "bench" / "registry.py").is_file():
        raise LoanloopError("benchmarks are in the source repository: clone it, run make setup, and use its command")
    sys.path.insert(0, str(_SOURCE))
    from bench import registry

    return registry
