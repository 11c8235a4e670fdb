"""`loanloop retrain`: a training now, whatever the labels and the breach rule say."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loanloop.options import As, DataDir

if TYPE_CHECKING:
    from loanloop_trainer.store.runs import RunFacts, RunStore


def retrain(
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the training has ended.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all randomness in the training.")] = 0,
    name: As = None,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Ask for a training on the newest labelled loans; the running trainer does it, the evaluator judges its model.

    With --wait the exit code is 1 if the training fails. Ctrl-C leaves the command, not the training.

    **Examples**

    - `loanloop retrain`
    - `loanloop retrain --wait --seed 7`
    """
    asyncio.run(_retrain(wait, seed, name, data_dir))


async def _retrain(wait: bool, seed: int, name: str | None, data_dir: Path) -> None:
    from loanloop_common.errors import LoanloopError
    from loanloop_trainer.store.runs import RunStore

    from loanloop.operating import operated, operator_name

    async with operated(data_dir) as operating:
        runs = RunStore(operating.pool, operating.portfolio)
        run_id = await runs.request_run(seed=seed, requested_by=operator_name(name))
        if run_id is None:
            raise LoanloopError("a training is under way already; `loanloop watch` shows it.")
        run = await runs.fetch_facts(run_id)
        if run.state == "failed":
            raise LoanloopError(f"the training can't be made: {run.error}")
        print(f"Training on {run.n_rows:,} loans is queued; `loanloop watch` shows it.")
        if wait:
            _say(await _shown(runs, run))


async def _shown(runs: "RunStore", run: "RunFacts") -> "RunFacts":
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from loanloop.observe.words import duration

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, TimeElapsedColumn()) as bar:
        task = bar.add_task("waiting for the trainer", total=None, figures="")
        while run.state in ("queued", "running"):
            done = run.progress
            figures = [f"loss {done['loss']:.3f}"] if done.get("loss") is not None else []
            if done.get("eta_s") is not None:
                figures.append(f"about {duration(done['eta_s'])} to go")
            bar.update(
                task,
                description=run.phase or "waiting for the trainer",
                completed=done.get("step") or 0,
                total=done.get("steps") or None,
                figures=", ".join(figures),
            )
            await asyncio.sleep(0.5)
            run = await runs.fetch_facts(run.run_id)
    return run


def _say(run: "RunFacts") -> None:
    from loanloop_common.errors import LoanloopError

    if run.state == "failed":
        raise LoanloopError(f"the training failed: {run.error}")
    print(f"{run.version} is trained; the evaluator judges it next (`loanloop models`).")
