"""`loanloop passwords`: what the containers of a deployment log in with."""

from pathlib import Path
from typing import Annotated

import typer


def passwords(
    to: Annotated[Path, typer.Option(help="A folder; each reader gets one in it.")],
) -> None:
    """Make the passwords and the first API keys of a deployment that are not there yet.

    docker-compose.yml runs this first. Files that are there already stay as they are. The API key of the operator is
    printed, once; no password is.

    **Example:** `loanloop passwords --to /secrets`
    """
    from loanloop.passwords import make_passwords

    made = make_passwords(to)
    print(f"{len(made.files)} files made in {to}" if made.files else f"all is in {to} already")
    if made.operator_key:
        print(f"API key of the operator, printed only now (Authorization: Bearer KEY): {made.operator_key}")
