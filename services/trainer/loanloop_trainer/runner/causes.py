"""An exception that ended a training, as a clause that may stand in its run, in an alert and on a screen."""

import re
from pathlib import PurePath
from traceback import extract_tb

import asyncpg
from loanloop_common.errors import InvalidMessage, LoanloopError
from loanloop_common.postgres import REFUSED_BY_DATABASE
from pydantic import ValidationError

# Of the machine, the libraries and the settings. What others say (ValueError, KeyError …) may be a value of a loan.
TELLING = (RuntimeError, OSError, MemoryError, ImportError, LoanloopError, asyncpg.PostgresError)
UNSAID = (InvalidMessage, *REFUSED_BY_DATABASE)

AT_MOST = 300
# Of an address; to its last @, for a password may have one.
_ACCOUNT = re.compile(r"(?<=://)\S*@")
# As libpq spells it, quoted or not.
_PASSWORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'?|\S+)", re.IGNORECASE)


def cause_of(error: Exception) -> str:
    """One line, without values of loans, without passwords."""
    said = f"the training process ended with {type(error).__name__}{_details(error)}"
    line = " ".join(_PASSWORD.sub(r"\1…", _ACCOUNT.sub("", said)).split())
    printable = "".join(c if c.isprintable() else "?" for c in line)  # PostgreSQL stores no NUL
    return printable if len(printable) <= AT_MOST else printable[: AT_MOST - 1] + "…"


def _details(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first, *more = error.errors(include_url=False, include_context=False, include_input=False)
        said = ": ".join([*filter(None, [".".join(map(str, first["loc"]))]), first["msg"]])
        return f": {said}{f' (and {len(more)} more)' if more else ''}"
    if isinstance(error, TELLING) and not isinstance(error, UNSAID) and (said := _said(error)):
        return f": {said}"
    return _place(error)


def _said(error: Exception) -> str:
    """Without PostgreSQL's DETAIL, which quotes rows."""
    return str(error.args[0] if isinstance(error, asyncpg.PostgresError) else error)


def _place(error: Exception) -> str:
    """In our own code, where it comes from there."""
    frames = [(PurePath(frame.filename), frame.lineno) for frame in extract_tb(error.__traceback__)]
    own = [(path, line) for path, line in frames if any(part.startswith("loanloop_") for part in path.parts)]
    if not own:
        return ""
    path, line = own[-1]
    package = next(i for i, part in enumerate(path.parts) if part.startswith("loanloop_"))
    return f" at {'/'.join(path.parts[package:])}:{line}"
