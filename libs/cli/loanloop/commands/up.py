"""`loanloop up`: start everything and stay."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loanloop.options import DATA_DIR_VARIABLE

if TYPE_CHECKING:
    from loanloop_common.portfolio import Portfolio

    from loanloop.runtime.installation import Installation
    from loanloop.runtime.ports import Ports
    from loanloop.telling import Tell


def up(
    data_dir: Annotated[
        Path, typer.Option(envvar=DATA_DIR_VARIABLE, help="Where Kafka, PostgreSQL and the logs are kept.")
    ] = Path(".loanloop"),
    portfolio: Annotated[
        str | None,
        typer.Option(help="`sba`, `sba_application` or a portfolio file; else the one used before, else `sba`."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="REST; 8000 if free, else another.")] = None,
    kafka_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Kafka; 9092 if free, else another.")] = None,
    postgres_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="PostgreSQL; 5432 if free, else another.")
    ] = None,
    page_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The page for a browser; 8080 if free, else another.")
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(metavar="BOOTSTRAP", help="Use this Kafka; needs --postgres too.")
    ] = None,
    postgres: Annotated[str | None, typer.Option(metavar="DSN", help="Use this PostgreSQL; needs --kafka too.")] = None,
) -> None:
    """Start Kafka, PostgreSQL, the four services and the page of `loanloop page`, and stay; Ctrl-C stops them all.

    A second start on the same data folder continues where the first one was.

    **Examples**

    - `loanloop up`
    - `loanloop up --data-dir /data/loans --portfolio sba_application --port 8080`
    - `loanloop up --kafka broker:9092 --postgres postgresql://loanloop:secret@db/loanloop`
    """
    from loanloop.runtime.foreground import run_installation, until_signalled
    from loanloop.runtime.ports import Ports
    from loanloop.runtime.up_screen import Screen

    screen = Screen()
    ports = Ports(rest=port, kafka=kafka_port, postgres=postgres_port, page=page_port)
    installation = _installation(data_dir, ports, kafka, postgres, screen.tell)

    def ready(chosen: "Portfolio", live: str | None) -> None:
        screen.show_addresses(installation, chosen, live)

    if asyncio.run(until_signalled(run_installation(installation, portfolio, screen.tell, ready))):
        screen.tell("stopped; everything is kept in " + str(installation.directory.path))


def _installation(
    data_dir: Path, ports: "Ports", kafka: str | None, postgres: str | None, tell: "Tell"
) -> "Installation":
    from loanloop.runtime.infrastructure import EmbeddedInfrastructure, GivenInfrastructure
    from loanloop.runtime.settings import RuntimeSettings

    host = RuntimeSettings().rest_host
    if kafka and postgres:
        return GivenInfrastructure(data_dir, kafka=kafka, postgres=postgres, ports=ports, progress=tell, rest_host=host)
    if kafka or postgres:
        raise typer.BadParameter("--kafka and --postgres go together: give both or neither.")
    return EmbeddedInfrastructure(data_dir, ports=ports, progress=tell, rest_host=host)
