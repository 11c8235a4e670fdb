"""A portfolio read from its file: a shipped preset or one of one's own, which may extend another."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from loanloop_common.errors import LoanloopError
from loanloop_common.portfolio import Derived, Feature, FileMapping, ModelConfig, Policy, Portfolio
from loanloop_common.resources import resource_folder

_TABLES: dict[str, type[BaseModel]] = {
    "file": FileMapping,
    "features": Feature,
    "derived": Derived,
    "policy": Policy,
    "model": ModelConfig,
}
# What to write for a line or table that has no default.
_EXAMPLES = {
    "name": 'name = "my_loans"',
    "features": 'at least one table such as [features.income] with kind = "number"',
    "kind": 'kind = "number" (or "category", "flag")',
    "op": 'op = "ratio" (or "prefix", "equal")',
    "of": 'of = ["amount", "income"]',
    "policy": "[policy] with maturity_days = 180",
    "maturity_days": "maturity_days = 180",
}


class PortfolioInvalid(LoanloopError):
    """The portfolio file cannot be found or breaks its own rules."""

    def __init__(self, portfolio: str, reason: str) -> None:
        self.portfolio = portfolio
        self.reason = reason
        super().__init__(f"portfolio {portfolio}: {reason}")


def load_portfolio(name_or_path: str | Path) -> Portfolio:
    """A shipped preset by name, or any portfolio file by its path. Raises PortfolioInvalid."""
    path = portfolio_path(str(name_or_path))
    raw = _read(path)
    for section in ("features", "derived"):
        if not isinstance(raw.get(section, {}), dict):
            raise PortfolioInvalid(str(path), f"[{section}] must be a table")
        for name, part in raw.get(section, {}).items():
            raw[section][name] = {**part, "name": name} if isinstance(part, dict) else part
    try:
        return Portfolio.model_validate(raw)
    except ValidationError as invalid:
        raise PortfolioInvalid(str(path), _sentence(invalid)) from invalid


def _read(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in extended_by:
        raise PortfolioInvalid(str(path), "extends itself")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise PortfolioInvalid(str(path), "there is no such file") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise PortfolioInvalid(str(path), f"is not TOML: {broken}") from broken
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    return _merged(_read((path.parent / str(parent)).resolve(), (*extended_by, path)), raw)


def _merged(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """Key by key, except [allow]: an exception is never inherited by a file that states its own."""
    merged = dict(parent)
    for key, value in child.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both_tables and key != "allow" else value
    return merged


def portfolio_path(name_or_path: str) -> Path:
    """Where the file of a preset lies, or what is a path already. Raises PortfolioInvalid for no preset's name."""
    if name_or_path.endswith(".toml"):
        return Path(name_or_path).resolve()
    presets = _presets()
    if name_or_path not in presets:
        reason = f"no preset of that name (known: {', '.join(presets)}), and no path that ends in .toml"
        raise PortfolioInvalid(name_or_path, reason)
    return presets[name_or_path]


def _presets() -> dict[str, Path]:
    return {path.stem: path for path in sorted(resource_folder("portfolios").glob("*/*.toml"))}


def how_to_name(portfolio: str) -> str:
    """What to set so that the portfolio of this name is taken: only a preset is known by its name."""
    if portfolio in _presets():
        return f"set LOANLOOP_PORTFOLIO={portfolio}"
    return (
        f'set LOANLOOP_PORTFOLIO to the path of the file with name = "{portfolio}" '
        "(with docker compose, LOANLOOP_PORTFOLIO_FOLDER too, both in .env)"
    )


def _sentence(invalid: ValidationError) -> str:
    """The first error; a misspelt key before the one that is missing for it."""
    errors = invalid.errors(include_url=False)
    first = next((error for error in errors if _meant(error["loc"])), errors[0])
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {_said(first)}" if where else _said(first)


def _said(error: ErrorDetails) -> str:
    key = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        meant = _meant(error["loc"])
        return "is no setting" + (f"; do you mean {meant}?" if meant else "")
    if error["type"] == "missing":
        return f"is missing; write {_EXAMPLES[key]}" if key in _EXAMPLES else "is missing"
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    given = error["input"]
    return error["msg"] + (f", not {given!r}" if isinstance(given, str | int | float) else "")


def _meant(loc: tuple[int | str, ...]) -> str | None:
    """The key like the one at `loc`, if that is no key of its table."""
    part = _TABLES.get(str(loc[0])) if len(loc) > 1 else Portfolio
    keys = [] if part is None else list(part.model_fields)
    if not loc or loc[-1] in keys:
        return None
    return next(iter(get_close_matches(str(loc[-1]), keys, n=1)), None)
