"""`loanloop passwords`: what the containers of a deployment log in with."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def passwords(
    to: Annotated[Path, typer.Option(help="A folder; each reader gets one in it.")],
    renew: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Make what this reader logs in with anew: password and API key. Repeatable."),
    ] = None,
) -> None:
    """Make the passwords and the first API keys of a deployment that are not there yet.

    docker-compose.yml runs this first. Files that are there already stay as they are, but for those of `--renew`: what
    else has to be told of a new password stands in docs/runbooks/renewed-passwords.md. The API key of the operator is
    printed on a terminal alone, since whatever else a container prints is kept in its log; no password is.

    **Examples**

    - `loanloop passwords --to /secrets`
    - `loanloop passwords --to /secrets --renew ingest --renew operator`
    """
    from loanloop.passwords import key_file, make_passwords

    made = make_passwords(to, renew or ())
    print(f"{len(made.files)} files made in {to}" if made.files else f"all is in {to} already")
    if made.operator_key:
        is_shown = sys.stdout.isatty()
        print(f"API key of the operator: {made.operator_key if is_shown else f'in {key_file(to)}'}")
