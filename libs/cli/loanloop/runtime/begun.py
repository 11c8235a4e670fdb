"""What a data folder was begun with, and the sentence for whoever starts it with something else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loanloop_common.portfolio import Portfolio

from loanloop.runtime.problems import CannotRun

OTHERWISE = "or begin another folder with --data-dir."


@dataclass(frozen=True, kw_only=True)
class Begun:
    """`source` is a preset's name or a file's path; `inputs` is what a model may see, by name."""

    portfolio: str
    source: str
    inputs: dict[str, dict[str, Any]]


def begun_with(portfolio: Portfolio, source: str) -> Begun:
    return Begun(portfolio=portfolio.name, source=source, inputs=portfolio.input_facts)


def refuse_other(begun: Begun, chosen: Portfolio, source: str) -> None:
    """Raises CannotRun if `chosen`, read from `source`, is not what the folder was begun with."""
    if begun.portfolio != chosen.name:
        back = f"set its name back to {begun.portfolio}" if source == begun.source else _start_with(begun.source)
        raise CannotRun(
            f"This data folder serves the portfolio {begun.portfolio}, not {chosen.name}: {back}, {OTHERWISE}"
        )
    if list(begun.inputs.items()) != list(chosen.input_facts.items()):
        raise other_features(chosen, begun, source)


def other_features(chosen: Portfolio, begun: Begun | None, source: str) -> CannotRun:
    """Names those that differ where the folder knows what it was begun with."""
    differ = f" ({differences(begun.inputs, chosen.input_facts)})" if begun else ""
    back = _start_with(begun.source) if begun and begun.source != source else "restore the portfolio file"
    return CannotRun(
        f"The features of portfolio {chosen.name} are not those that this data folder was begun with{differ}: "
        f"{back}, {OTHERWISE}"
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """In words, of features by name."""
    named = {
        "added": [name for name in after if name not in before],
        "gone": [name for name in before if name not in after],
        "changed": [name for name in before if name in after and before[name] != after[name]],
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in named.items() if names) or "in another order"


def _start_with(source: str) -> str:
    return f"start with --portfolio {source}"
