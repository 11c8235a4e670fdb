"""A statement's name in the metrics: its constant's behind its module's, `decisions.claim_events`.

Statements are module constants (tests/unit/test_rules.py), so nobody has to name them a second time.
"""

import sys
from collections.abc import Iterator

_PACKAGES = "loanloop"  # and what begins with it: the services, and what they share
_AROUND_A_TRANSACTION = ("begin", "commit", "rollback", "savepoint", "release")
_MOST_NAMES = 1000

_names: dict[str, str] = {}
_looked_at: set[str] = set()  # modules


def query_name(statement: str) -> str:
    name = _names.get(statement)
    if name is None:
        _names.update(_constants())
        name = _names.setdefault(statement, _other(statement)) if len(_names) < _MOST_NAMES else _other(statement)
    return name


def _other(statement: str) -> str:
    word = statement.split(None, 1)[0].rstrip(";").lower() if statement.strip() else ""
    return word if word in _AROUND_A_TRANSACTION else "other"


def _constants() -> Iterator[tuple[str, str]]:
    """Whoever runs a statement has loaded the module that it stands in."""
    for module_name, module in list(sys.modules.items()):
        if not module_name.startswith(_PACKAGES) or module_name in _looked_at:
            continue
        _looked_at.add(module_name)
        of_module = module_name.rpartition(".")[2]
        for name, value in list(vars(module).items()):
            if isinstance(value, str) and name.strip("_").isupper() and " " in value:
                yield value, f"{of_module}.{name.strip('_').lower()}"
