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
