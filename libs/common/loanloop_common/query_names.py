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
    """Of the modules loaded since the last look: whoever runs a statement has loaded the one that it stands in."""
    if len(sys.modules) == len(_looked_at):
        return
    for module_name in sys.modules.keys() - _looked_at:
        _looked_at.add(module_name)
        module = sys.modules.get(module_name)
        if module is None or not module_name.startswith(_PACKAGES):
            continue
        of_module = module_name.rpartition(".")[2]
        for name, value in list(vars(module).items()):
            if isinstance(value, str) and name.strip("_").isupper() and " " in value:
                yield value, f"{of_module}.{name.strip('_').lower()}"
