"""What `loanloop up` shows: what it does, line by line, and at last the addresses and lines to paste."""

import contextlib
import shlex
import time

from loanloop_common.portfolio import Portfolio
from rich.console import Console
from rich.markup import escape

from loanloop.runtime.first_steps import first_steps, what_follows
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.installation import Installation
from loanloop.runtime.tools import write_tools


class Screen:
    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._started_at = time.monotonic()

    def tell(self, line: str) -> None:
        elapsed = time.monotonic() - self._started_at
        with contextlib.suppress(OSError):  # to a file on a full disk, it may be: what runs goes on
            self._console.print(f"[dim]{elapsed:6.1f} s[/dim]  {escape(line)}", soft_wrap=True)

    def show_addresses(self, installation: Installation, portfolio: Portfolio, live: str | None) -> None:
        self.tell("ready")
        self._console.print(
            f"""
  REST        [bold]{installation.rest_url}[/bold]  (its documentation: {installation.rest_url}/docs)
  page        [bold]{installation.page_url}[/bold]  (what `loanloop watch` shows, in a browser)
  Kafka       [bold]{installation.kafka_bootstrap}[/bold]
  PostgreSQL  DSN in {installation.postgres_dsn_file}
  portfolio   {portfolio.name}: {escape(portfolio.title)}
  logs        {installation.directory.logs}
""",
            soft_wrap=True,
        )
        for field, reason in portfolio.warnings:
            self._console.print(
                f"  [yellow]{field} is not known at the application but allowed:[/yellow] {escape(reason)}\n",
                soft_wrap=True,
            )
        if isinstance(installation, EmbeddedInfrastructure):
            self._show_first_steps(installation, portfolio, live)
        self._console.print("Ctrl-C stops everything.")

    def _show_first_steps(self, infrastructure: EmbeddedInfrastructure, portfolio: Portfolio, live: str | None) -> None:
        steps = first_steps(portfolio, tools=write_tools(infrastructure), rest_url=infrastructure.rest_url)
        data_dir = shlex.quote(str(infrastructure.directory.path))
        starts, answers = what_follows(portfolio, live)
        for title, line in (
            (
                f"Send loans that have ended, of a CSV or Parquet file ({starts})",
                f"loanloop produce FILE --history --data-dir {data_dir}",
            ),
            ("Send a loan to Kafka", steps.produce),
            (f"Ask for a decision by REST ({answers})", steps.predict),
            ("See the decisions", steps.consume),
        ):
            self._console.print(f"[bold]{title}[/bold]")
            self._console.print(line, markup=False, soft_wrap=True)
            self._console.print()
