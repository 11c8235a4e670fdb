"""Rules of CONTRIBUTING.md that no linter knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
KERNEL, COMMAND = "libs/common/loanloop_common", "libs/cli/loanloop"
# Beside the stores of the services.
SQL_BELONGS_IN = {
    f"{KERNEL}/alerts.py": "each service's own rows",
    f"{KERNEL}/dead_letters.py": "each service's own rows",
    f"{KERNEL}/event_time.py": "one clock for trainer, evaluator and views",
    f"{KERNEL}/installation.py": "checked by every service at its start",
    f"{KERNEL}/instances.py": "each service's own row",
    f"{KERNEL}/outbox.py": "each service's own rows",
    f"{KERNEL}/outbox_rows.py": "each service's own rows",
    f"{KERNEL}/postgres.py": "grants the roles, where the migrations are applied",
    f"{KERNEL}/partitions.py": "of the tables of ingest and predictor alike",
    f"{KERNEL}/rejected_rows.py": "of the rows that dead_letters writes",
    f"{COMMAND}/backups/tables.py": "all tables alike, as the catalog lists them",
    f"{COMMAND}/backups/marker.py": "all tables alike, before a service owns them",
    f"{COMMAND}/demo/queries.py": "reads only: the demo's checks",
    f"{COMMAND}/observe/queries.py": "reads only: status and watch",
    f"{COMMAND}/testing/queries.py": "reads only: what a test waits for",
}


def with_sql(root: Path) -> Iterator[str]:
    for path in sorted(root.glob("*/*/**/*.py")):
        constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        if any(isinstance(value, str) and "loan_data." in value for value in constants):
            yield path.relative_to(ROOT).as_posix()


def test_sql_stands_in_the_stores_and_where_the_list_says_why() -> None:
    elsewhere = {path for folder in ("libs", "services") for path in with_sql(ROOT / folder) if "/store/" not in path}

    assert elsewhere == set(SQL_BELONGS_IN)


SESSION_STATEMENTS = re.compile(r"pg_(try_)?advisory_lock|\bCREATE TEMP|\bLISTEN \w|\A\s*SET (?!LOCAL)\w|set_config\(")


def test_no_statement_leaves_its_mark_on_a_session_of_the_pool() -> None:
    """Connections go back into it as they are.

    Migrations and a restore have one of their own; a search ends the one with its lock.
    """
    marking = set()
    for folder in ("libs", "services"):
        for path in sorted((ROOT / folder).glob("*/*/**/*.py")):
            constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
            if any(isinstance(value, str) and SESSION_STATEMENTS.search(value) for value in constants):
                marking.add(path.relative_to(ROOT).as_posix())

    assert marking == {
        f"{COMMAND}/backups/marker.py",
        f"{KERNEL}/postgres.py",
        "services/trainer/loanloop_trainer/store/only_search.py",
    }


def locked_versions(lock: str) -> set[str]:
    return {line.split(";")[0].strip() for line in (ROOT / lock).read_text().splitlines()}


def test_what_is_developed_with_is_what_is_deployed() -> None:
    deployed, developed = locked_versions("requirements.lock"), locked_versions("requirements-dev.lock")

    assert deployed < developed
    assert any(line.startswith("ruff==") for line in developed - deployed)
    assert not [line for line in developed if "://" in line]
