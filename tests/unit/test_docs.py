"""docs/architecture.md names every setting and every table, and none that is gone."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from loanloop.runtime.settings import RuntimeSettings
from loanloop_common.settings import ServiceSettings
from loanloop_evaluator.config import EvaluatorSettings
from loanloop_ingest.config import IngestSettings
from loanloop_predictor.config import PredictorSettings
from loanloop_trainer.config import TrainerSettings
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
SETTINGS: dict[str, type[BaseModel]] = {
    "all": ServiceSettings,
    "ingest": IngestSettings,
    "predictor": PredictorSettings,
    "trainer": TrainerSettings,
    "evaluator": EvaluatorSettings,
    "the command": RuntimeSettings,
}


def rows(header: str) -> Iterator[tuple[str, str]]:
    (table,) = re.findall(rf"{re.escape(header)}\n\|---\|---\|\n((?:\|.*\n)+)", PAGE)
    for line in table.splitlines():
        first, rest = line.strip("| ").split(" | ", 1)
        yield first, rest


def documented() -> dict[str, set[str]]:
    """`__PORT` stands for the section of the variable before it."""
    found: dict[str, set[str]] = defaultdict(set)
    for who, text in rows("| service | settings |"):
        section = ""
        for name in re.findall(r"`([A-Z_]+)`", text):
            section = section if name.startswith("__") else name.partition("__")[0]
            found[who.partition(":")[0]].add(section + name if name.startswith("__") else name)
    return found


def variables_of(model: type[BaseModel], prefix: str = "LOANLOOP_") -> Iterator[str]:
    for name, field in model.model_fields.items():
        variable = str(field.validation_alias or prefix + name.upper())
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from variables_of(field.annotation, f"{variable}__")
        else:
            yield variable


@pytest.mark.parametrize("who", SETTINGS)
def test_table_of_settings_names_those_there_are(who: str) -> None:
    shared = set() if who == "all" else set(variables_of(ServiceSettings))

    assert documented()[who] == set(variables_of(SETTINGS[who])) - shared


def test_table_of_writers_names_the_tables_there_are() -> None:
    migrations = "".join(path.read_text() for path in (ROOT / "migrations").glob("*.sql"))

    named = [table for tables, _ in rows("| table | writer |") for table in tables.split(", ")]

    assert sorted(named) == sorted(re.findall(r"CREATE TABLE loan_data\.(\w+)", migrations))
