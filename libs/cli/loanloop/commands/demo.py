"""`loanloop demo`: the loop turns on real loans, in minutes."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    portfolio: Annotated[
        str, typer.Option(help="`sba`, or `sba_application`: only what a lender knows at the application.")
    ] = "sba",
    until: Annotated[
        str,
        typer.Option(
            metavar="YYYY-MM",
            help="The last month replayed; later ones follow until the version after the breach is judged.",
        ),
    ] = "2008-10",
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Other loans than the shipped sample.")
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Where the demo lives; emptied at its start.")] = Path(
        ".loanloop/demo"
    ),
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="On the running services of LOANLOOP_KAFKA__… and LOANLOOP_POSTGRES__….")
    ] = False,
    rest: Annotated[
        str, typer.Option(metavar="URL", help="Of the predictor, with --elsewhere.")
    ] = "http://127.0.0.1:8000",
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, help="With --elsewhere: holds an API key to score with.")
    ] = None,
    stored: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --elsewhere: made when the history is stored.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="End with one JSON object; the story goes to stderr.")] = False,
) -> None:
    """Watch the loop turn on real loans: train, serve, notice the crisis, retrain, swap. 5 minutes on two cores.

    Starts Kafka, PostgreSQL and the four services afresh, replays SBA loans, checks that all adds up, and stops
    everything. Exit code 0 only if every check holds.

    **Examples**

    - `loanloop demo`
    - `loanloop demo --portfolio sba_application`
    - `loanloop demo --until 2009-12`: through the second model's fall, failed attempts and the alert
    - `loanloop demo --json > result.json`
    - `loanloop demo --elsewhere --rest http://predictor:8000`: on services that run already and have no loans yet
    """
    from loanloop_common.resources import SAMPLE
    from rich.console import Console

    from loanloop.demo.plan import plan_of
    from loanloop.demo.report import print_next_steps, report_json, report_view
    from loanloop.demo.result import Result
    from loanloop.demo.running import Elsewhere, Played, run_demo, run_demo_elsewhere
    from loanloop.demo.stage import make_stage
    from loanloop.runtime.foreground import until_signalled

    console = Console(stderr=json, highlight=False)
    plan = plan_of(portfolio, until)
    loans = file or SAMPLE
    played: list[Played | Result] = []

    async def play() -> None:
        stage = make_stage(console)
        if elsewhere:
            key = key_file.read_text().strip() if key_file else None
            where = Elsewhere(data_dir=data_dir, rest_url=rest, api_key=key, stored=stored)
            played.append(await run_demo_elsewhere(plan, loans, where, stage))
        else:
            played.append(await run_demo(plan, loans, data_dir, stage))

    if asyncio.run(until_signalled(play())):
        console.print("stopped" if elsewhere else "stopped; nothing is left running")
        raise typer.Exit(130)
    ended = played[0]
    result = ended.result if isinstance(ended, Played) else ended
    console.print(report_view(result, width=min(console.width, 110)))
    if isinstance(ended, Played):
        print_next_steps(console, data_dir, ended.next_steps, command=sys.argv[0])
    if json:
        import msgspec

        print(msgspec.json.encode(report_json(result)).decode())
    raise typer.Exit(0 if result.holds else 1)
