"""The passwords and first API keys of a deployment: a folder for each reader, so that it holds its own and no other."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loanloop_common.errors import LoanloopError
from loanloop_predictor.domain.access import Role
from loanloop_predictor.domain.access_keys import SECRET_BYTES, make_key
from loanloop_predictor.store.keys_file import changed_keys, load_keys

OWNER = "loanloop"  # of the database
# Each logs in to the database by its own name.
READERS = ("ingest", "predictor", "trainer", "evaluator", "operator", "page", "grafana")
OPERATOR = "operator"
_FIRST_KEYS = {OPERATOR: Role.OPERATE, "prometheus": Role.READ}
_PRIVATE, _FOR_ANOTHER_USER = 0o600, 0o444


@dataclass(frozen=True)
class Made:
    files: Sequence[Path]
    operator_key: str | None  # where it was made just now: its file says it again, nothing else does


def make_passwords(folder: Path) -> Made:
    """Makes the files that are missing and leaves the others as they are.

    NAME/password holds a password alone, NAME/pgpass the same for libpq and asyncpg (PGPASSFILE), which take only a
    file that nobody else can read; rest/keys knows the API keys of NAME/api_key by their hashes. Raises
    LoanloopError where the folder cannot be written.
    """
    made: list[Path] = []
    try:
        for name in ("postgres", *READERS):
            made += _password(folder / name, OWNER if name == "postgres" else name)
        made += _new_file(folder / "grafana" / "admin_password", secrets.token_urlsafe(16), _FOR_ANOTHER_USER)
        keys = {name: key for name in _FIRST_KEYS if (key := _api_key(folder, name))}
    except OSError as error:
        raise LoanloopError(
            f"the passwords cannot be written to {folder} ({error.strerror or error}): name another folder with --to"
        ) from error
    return Made([*made, *(folder / name / "api_key" for name in keys)], keys.get(OPERATOR))


def _password(folder: Path, login: str) -> Sequence[Path]:
    password = folder / "password"
    made = _new_file(password, secrets.token_urlsafe(24), _FOR_ANOTHER_USER)
    return [*made, *_new_file(folder / "pgpass", f"*:*:*:{login}:{password.read_text()}\n", _PRIVATE)]


def _api_key(folder: Path, name: str) -> str | None:
    """Its file comes last: where that is missing the key is made anew, and one that nobody holds is forgotten.

    So is a key that REST knows no more, because the file of keys is gone.
    """
    path, known = folder / name / "api_key", folder / "rest" / "keys"
    if path.exists() and known.exists() and name in load_keys(known):
        return None
    path.unlink(missing_ok=True)
    key, kept = make_key(name, _FIRST_KEYS[name], secrets.token_bytes(SECRET_BYTES))
    with changed_keys(known) as keys:
        keys[name] = kept
    _new_file(path, key, _PRIVATE if name == OPERATOR else _FOR_ANOTHER_USER)
    return key


def _new_file(path: Path, text: str, mode: int) -> Sequence[Path]:
    """Whole or not there, also where the process is killed in between."""
    if path.exists():
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.touch(mode=_PRIVATE)
        draft.write_text(text)
        draft.chmod(mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return [path]
