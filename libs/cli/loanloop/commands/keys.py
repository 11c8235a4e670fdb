"""`loanloop keys`: who may ask the predictor's REST."""

from pathlib import Path
from typing import Annotated

import typer

from loanloop.telling import tell

app = typer.Typer(
    name="keys", help="API keys of the predictor's REST: make, list and revoke them.", no_args_is_help=True
)

KeysPath = Annotated[
    Path,
    typer.Option("--file", envvar="LOANLOOP_PREDICTOR__KEYS_FILE", help="The file that the predictor knows keys by."),
]
_MAY = {
    "read": "read REST's model, metrics and /docs, and see the page of `loanloop page`",
    "score": "ask REST for decisions, read it and /docs, and see the page of `loanloop page`",
    "operate": "do all by REST, and see the page of `loanloop page`",
}
KeyId = Annotated[str, typer.Argument(metavar="ID", help="Whose key: lower-case letters, digits, dashes.")]


@app.command()
def new(
    key_id: KeyId,
    *,
    role: Annotated[
        str, typer.Option(help="**read** (model, metrics), **score** (that, and decisions) or **operate** (all).")
    ],
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="It is refused from so many days on; without it, never.")
    ] = None,
    file: KeysPath,
) -> None:
    """Make a key and print it, once: the file keeps its SHA-256 alone.

    A running predictor knows it within seconds. Send it as `Authorization: Bearer KEY` or as `X-API-Key: KEY`.

    **Examples**

    - `loanloop keys new web-shop --role score --days 365 --file keys`
    - `loanloop keys new prometheus --role read --file keys > prometheus.key`
    """
    import secrets
    from datetime import UTC, datetime, timedelta

    from loanloop_predictor.domain.access import Role
    from loanloop_predictor.domain.access_keys import SECRET_BYTES, KeysInvalid, make_key
    from loanloop_predictor.store.keys_file import changed_keys

    if role not in {str(known) for known in Role}:
        raise typer.BadParameter(f"{role!r} is none: it must be one of {', '.join(Role)}.", param_hint="--role")
    today = datetime.now(UTC).date()
    expires = None if days is None else today + timedelta(days=days)
    random = secrets.token_bytes(SECRET_BYTES)
    key, kept = make_key(key_id, Role(role), random, created=today, expires=expires)
    with changed_keys(file) as keys:
        if key_id in keys:
            raise KeysInvalid(f"{file} has a key {key_id} already: revoke it first, or choose another id.")
        keys[key_id] = kept
    print(key)
    tell(f"{key_id} may {_MAY[role]}; in a browser any name, and the key as the password. It is not shown again.")


@app.command("list")
def list_(*, file: KeysPath) -> None:
    """Ids, roles, when each was made and when it expires. The keys themselves are kept nowhere.

    **Example:** `loanloop keys list --file keys`
    """
    from loanloop_predictor.store.keys_file import load_keys

    keys = load_keys(file).values()
    if keys:
        tell(f"{'id':<40} {'role':<8} {'made':<10}  expires")
    for key in keys:
        print(f"{key.key_id:<40} {key.role:<8} {key.created or 'unknown'!s:<10}  {key.expires or 'never'}")


@app.command()
def revoke(key_id: KeyId, *, file: KeysPath) -> None:
    """Take a key away: a running predictor refuses it within seconds.

    **Example:** `loanloop keys revoke web-shop --file keys`
    """
    from loanloop_predictor.domain.access_keys import KeysInvalid
    from loanloop_predictor.store.keys_file import changed_keys, load_keys

    load_keys(file)  # where there is none, none is made
    with changed_keys(file) as keys:
        if keys.pop(key_id, None) is None:
            raise KeysInvalid(f"{file} has no key {key_id}: `loanloop keys list` shows those it has.")
    print(f"{key_id} is revoked")
