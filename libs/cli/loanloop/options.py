"""Options that several commands share. Imports no more than typer: each command has it at its top."""

from pathlib import Path
from typing import Annotated

import typer


def _readable(text: str) -> str:
    """What the terminal sent as bytes that are no text can't be kept in the database."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("it must be UTF-8 text.") from None
    return text


DATA_DIR_VARIABLE = "LOANLOOP_DATA_DIR"
DataDir = Annotated[Path, typer.Option(envvar=DATA_DIR_VARIABLE, help="Data folder of the running `loanloop up`.")]
Reason = Annotated[str, typer.Option(callback=_readable, help="Why; it is kept with the deployment.")]


def _named(name: str | None) -> str | None:
    return None if name is None else _readable(name.strip())[:100]


As = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="NAME",
        envvar="LOANLOOP_OPERATOR",
        callback=_named,
        help="Who you are; it is kept with what you do, beside the login of the database. Without it, your user name.",
    ),
]
