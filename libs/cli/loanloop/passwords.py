"""The passwords and first API keys of a deployment: a folder for each reader, so that it holds its own and no other."""

import os
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loanloop_common.errors import LoanloopError
from loanloop_predictor.domain.access import Role
from loanloop_predictor.domain.access_keys import SECRET_BYTES, make_key
from loanloop_predictor.store.keys_file import changed_keys, load_keys

OWNER = "loanloop"  # of the database
# Each logs in to the database by its own name.
READERS = ("ingest", "predictor", "trainer", "evaluator", "operator", "page", "backup", "grafana")
OPERATOR = "operator"
_FIRST_KEYS = {OPERATOR: Role.OPERATE, "prometheus": Role.READ}
RENEWABLE = ("postgres", *READERS, "prometheus")
_PRIVATE, _FOR_ANOTHER_USER = 0o600, 0o444


@dataclass(frozen=True)
class Made:
    files: Sequence[Path]
    operator_key: str | None  # where it was made just now


def key_file(folder: Path, name: str = OPERATOR) -> Path:
    return folder / name / "api_key"


def make_passwords(folder: Path, renew: Collection[str] = ()) -> Made:
    """Makes the files that are missing, and anew what the readers `renew` log in with; leaves the others as they are.

    NAME/password holds a password alone, NAME/pgpass the same for libpq and asyncpg (PGPASSFILE), which take only a
    file that nobody else can read; rest/keys knows the API keys of NAME/api_key by their hashes. Raises
    LoanloopError where the folder cannot be written, or a name is none.
    """
    if unknown := sorted(set(renew) - set(RENEWABLE)):
        raise LoanloopError(f"{unknown[0]!r} has no password here: it must be one of {', '.join(RENEWABLE)}")
    made: list[Path] = []
    try:
        for name in ("postgres", *READERS):
            made += _password(folder / name, OWNER if name == "postgres" else name, anew=name in renew)
        made += _new_file(folder / "grafana" / "admin_password", secrets.token_urlsafe(16), _FOR_ANOTHER_USER)
        keys = {name: key for name in _FIRST_KEYS if (key := _api_key(folder, name, anew=name in renew))}
    except OSError as error:
        raise LoanloopError(
            f"the passwords cannot be written to {folder} ({error.strerror or error}): name another folder with --to"
        ) from error
    return Made([*made, *(key_file(folder, name) for name in keys)], keys.get(OPERATOR))


def _password(folder: Path, login: str, *, anew: bool) -> Sequence[Path]:
    """The password decides: whatever pgpass says is made to agree, also after a kill between the two."""
    password, pgpass = folder / "password", folder / "pgpass"
    made = (_write if anew else _new_file)(password, secrets.token_urlsafe(24), _FOR_ANOTHER_USER)
    line = f"*:*:*:{login}:{password.read_text()}\n"
    agrees = pgpass.exists() and pgpass.read_text() == line
    return made if agrees else [*made, *_write(pgpass, line, _PRIVATE)]


def _api_key(folder: Path, name: str, *, anew: bool) -> str | None:
    """Its file comes last: where that is missing the key is made anew, and one that nobody holds is forgotten.

    So is a key that REST knows no more, because the file of keys is gone.
    """
    path, known = key_file(folder, name), folder / "rest" / "keys"
    if not anew and path.exists() and known.exists() and name in load_keys(known):
        return None
    path.unlink(missing_ok=True)
    key, kept = make_key(name, _FIRST_KEYS[name], secrets.token_bytes(SECRET_BYTES), created=datetime.now(UTC).date())
    with changed_keys(known) as keys:
        keys[name] = kept
    _new_file(path, key, _PRIVATE if name == OPERATOR else _FOR_ANOTHER_USER)
    return key


def _new_file(path: Path, text: str, mode: int) -> Sequence[Path]:
    return [] if path.exists() else _write(path, text, mode)


def _write(path: Path, text: str, mode: int) -> Sequence[Path]:
    """Whole or as before, also where the process is killed in between."""
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
