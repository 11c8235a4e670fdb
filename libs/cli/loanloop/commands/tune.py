"""`loanloop tune`: better hyperparameters for the next trainings."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from loanloop.options import As, DataDir


def tune(
    *,
    loans: Annotated[
        Path | None, typer.Option(help="Search on this CSV or Parquet file of loans, not on those of the database.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Of the whole search; the first has the file's values.")] = 30,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Of this call; without it, no limit.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="0: one for each core.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all randomness in the search.")] = 0,
    new: Annotated[
        bool,
        typer.Option(
            "--new", help="Begin another search, though an earlier one has not ended; that one can't go on then."
        ),
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="No search; from now on train with the file's values.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For machines: the result as one JSON object.")] = False,
    name: As = None,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Search for hyperparameters by trainings on the loans of the next training, judged by the newest of them.

    Batch size, learning rate, weight decay, dropout, epochs, the width and spread of embeddings, the cut-off of rare
    categories and how fast older loans count less are tried, first those of the portfolio file. The best are stored
    and used by the next training of the portfolio, as long as its features and the file's `[model]` stay as they are.
    The loans of the gate are not touched. The network alone is searched: the trees of an ensemble keep the file's
    settings.

    Ctrl-C, `kill -9` or a power cut lose the trial under way at most: the same command goes on, but for `--new`, which
    always begins another search. With a limit that has been reached already, it stores the best of what there is.
    It begins another search, too, where the file's `[model]` or the labelled loans of the search have changed: by an
    outcome that arrived late or was corrected. Loans without an outcome may arrive meanwhile.

    **Examples**

    - `loanloop tune`
    - `loanloop tune --trials 100 --minutes 60`
    - `loanloop tune --loans loans.parquet --json`
    - `loanloop tune --forget`
    """
    from loanloop_common.errors import LoanloopError

    if forget:
        asyncio.run(_forget_results(data_dir, name))
        return
    print("Loading torch and the trainer …", file=sys.stderr, flush=True)  # takes seconds
    try:
        from loanloop.tuning import Asked, search
    except ModuleNotFoundError as missing:
        raise LoanloopError(
            f"a search trains, and {missing.name} is not installed here (the command's image has none of it): search "
            "in a clone after `make setup`, with LOANLOOP_POSTGRES__DSN and LOANLOOP_PORTFOLIO of the installation."
        ) from missing

    asked = Asked(
        file=loans,
        trials=trials,
        seconds=float("inf") if minutes is None else minutes * 60,
        threads=threads or None,
        seed=seed,
        anew=new,
        json=json,
        name=name,
    )
    raise typer.Exit(asyncio.run(search(asked, data_dir)))


async def _forget_results(data_dir: Path, name: str | None) -> None:
    from loanloop_trainer.store.tunings import forget

    from loanloop.operating import operated, operator_name

    async with operated(data_dir) as operating:
        forgotten = await forget(operating.pool, operating.portfolio.name, operator_name(name))
    print(
        "The next training has the portfolio file's hyperparameters." if forgotten else "There is no result to forget."
    )
