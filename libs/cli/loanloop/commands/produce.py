"""`loanloop produce`: the loans of a file as events on Kafka."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from loanloop.options import DataDir
from loanloop.produce.selection import Outcomes, Selection


def produce(
    file: Annotated[Path, typer.Argument(help="Loans, CSV or Parquet; the portfolio's [file] names the columns.")],
    *,
    portfolio: Annotated[
        str | None, typer.Option(help="Preset or file; without it, that of the running `loanloop up`.")
    ] = None,
    history: Annotated[
        bool,
        typer.Option(
            "--history", help="Loans carry their outcome inside: stored, not decided, but for those that have none."
        ),
    ] = False,
    outcomes: Annotated[
        Outcomes,
        typer.Option(help="due: each when it became known, in the file's time; after: behind all loans; none; only."),
    ] = Outcomes.DUE,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Loans a second; without it, as fast as it goes.")] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="Loans applied for on this day or later.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Loans applied for before this day.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="No more than so many loans.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate and say what would be refused; send nothing.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="From the beginning, not from where an earlier run was stopped.")
    ] = False,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Without it, that of the running `loanloop up`.")
    ] = None,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Send the loans of a file to `loan.received`, and what became of them to `loan.outcome`.

    Stopped by Ctrl-C or an error, the same command goes on where it was. Sending a file twice is harmless: the ids of
    events follow from their content. A row that breaks a rule is said and left out, and the exit code is 1 then. A loan
    is one line of a CSV, also within quotes.

    **Examples**

    - `loanloop produce loans.parquet --history --until 2005-01-01`
    - `loanloop produce loans.csv --from 2005-01-01 --rate 200`
    - `loanloop produce loans.csv --dry-run --portfolio my_portfolio.toml`
    - `loanloop produce loans.csv --kafka broker.example:9092 --outcomes only`
    """
    from datetime import UTC

    from loanloop.produce.running import Destination, produce_file, validate_file
    from loanloop.target import find_target

    selection = Selection(
        now=datetime.now(UTC),
        history=history,
        outcomes=outcomes,
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
        limit=limit,
    )
    target = find_target(data_dir)
    described = target.portfolio(portfolio)
    if dry_run:
        raise typer.Exit(validate_file(file, described, selection))
    destination = Destination(target.kafka(kafka), described, data_dir / "produce")

    async def send() -> int:
        if kafka is None:
            await target.refuse_other(described)
        return await produce_file(file, destination, selection, rate=rate, restart=restart)

    raise typer.Exit(asyncio.run(send()))
