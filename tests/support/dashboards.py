"""The committed dashboards, read as Grafana reads them: their queries, with macros and variables filled in."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
NAMES = ("loop", "services", "data")
Source = Literal["loanloop-postgres", "loanloop-prometheus"]
_RELATIVE = re.compile(r"now(?:-(\d+)([smhdwy]))?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
# As Grafana's data source for PostgreSQL finds its macros.
_MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")


@dataclass(frozen=True)
class Query:
    board: str
    panel: str
    ref: str
    source: Source
    text: str
    format: str = ""  # of PostgreSQL: table or time_series

    def __str__(self) -> str:
        return f"{self.board}: {self.panel} ({self.ref})"


@dataclass(frozen=True)
class Board:
    name: str
    model: dict[str, Any]

    @property
    def panels(self) -> list[dict[str, Any]]:
        return [panel for panel in self.model["panels"] if panel["type"] != "row"]

    @property
    def variables(self) -> list[dict[str, Any]]:
        return list(self.model.get("templating", {}).get("list", []))

    @property
    def queries(self) -> list[Query]:
        """Of panels and annotations."""
        return list(self._queries())

    def time_range(self, now: datetime) -> tuple[datetime, datetime]:
        """The dashboard's own."""
        span = self.model["time"]
        return _moment(span["from"], now), _moment(span["to"], now)

    def _queries(self) -> Iterator[Query]:
        for panel in self.panels:
            for target in panel["targets"]:
                yield self._query(panel["title"], target)
        for mark in self.model["annotations"].get("list", []):
            yield self._query(mark["name"], mark["target"])

    def _query(self, panel: str, target: Mapping[str, Any]) -> Query:
        text = target["rawSql"] if "rawSql" in target else target["expr"]
        uid: Source = target["datasource"]["uid"]
        return Query(self.name, panel, target["refId"], uid, text, str(target.get("format", "")))


def boards() -> list[Board]:
    return [Board(name, json.loads((FOLDER / f"{name}.json").read_text())) for name in NAMES]


def _moment(text: str, now: datetime) -> datetime:
    relative = _RELATIVE.fullmatch(text)
    if relative is None:
        return datetime.fromisoformat(text)
    return now - timedelta(seconds=int(relative[1]) * _SECONDS[relative[2]] if relative[1] else 0)


def fill_in(text: str, values: Mapping[str, str], span: tuple[datetime, datetime]) -> str:
    """The SQL that Grafana sends: first its page fills in variables, then its server the macros."""
    for name, value in values.items():
        quoted = "'" + value.replace("'", "''") + "'"
        text = text.replace(f"${{{name}:sqlstring}}", quoted).replace(f"${name}", value)
    first, last = (f"'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'" for moment in span)

    def macro(found: re.Match[str]) -> str:
        name, argument = found.groups()
        known = {
            "__timeFilter": f"{argument} BETWEEN {first} AND {last}",
            "__timeFrom": first,
            "__timeTo": last,
        }
        return known[name]

    filled = _MACRO.sub(macro, text)
    assert "$" not in filled, f"not filled in: {filled}"
    return filled
