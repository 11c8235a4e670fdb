"""`loanloop topics`: make the topics on a Kafka of one's own."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from loanloop.options import DataDir


def topics(
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Of the loan topics; else LOANLOOP_KAFKA__PARTITIONS (4).")
    ] = None,
    replication: Annotated[
        int | None,
        typer.Option(min=-1, help="Copies of each; -1: the broker's default; else LOANLOOP_KAFKA__REPLICATION (1)."),
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Without it, that of the running `loanloop up`.")
    ] = None,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Make the topics that are missing; those that are there stay as they are.

    A service does this as well when it starts. Run it before where only an operator may, or with other numbers.

    **Examples**

    - `loanloop topics --kafka broker.example:9092 --partitions 12 --replication 3`
    - `LOANLOOP_KAFKA__BOOTSTRAP_SERVERS=broker.example:9092 loanloop topics`
    """
    from loanloop_common.kafka import create_topics

    from loanloop.target import find_target

    made = asyncio.run(
        create_topics(find_target(data_dir).kafka(kafka), partitions=partitions, replication=replication)
    )
    print(f"made {', '.join(sorted(made))}" if made else "all topics are there already")
