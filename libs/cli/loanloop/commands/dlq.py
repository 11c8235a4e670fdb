"""`loanloop dlq`: what was refused, and sending it again once it is mended."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from loanloop.options import As, DataDir

if TYPE_CHECKING:
    from loanloop_common.rejected_rows import DeadLetter, WholeDeadLetter

_MOMENT = "%Y-%m-%d %H:%M:%S UTC"

app = typer.Typer(name="dlq", help="Dead letters: what was refused, why, and sending it again.", no_args_is_help=True)

LetterId = Annotated[str, typer.Argument(metavar="ID", help="As `dlq list` shows it, such as loan.received:2:1714.")]


@app.command("list")
def list_(
    *,
    reason: Annotated[
        str | None, typer.Option(help="Only these: invalid_field, invalid_message, conflict, not_read …")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Only those that came from this topic.")] = None,
    replayed: Annotated[bool, typer.Option("--replayed", help="Also those that were sent again.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="No more than so many, the newest first.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON array.")] = False,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """What was refused, the newest first, with the reason.

    **Examples**

    - `loanloop dlq list`
    - `loanloop dlq list --reason conflict --limit 500`
    - `loanloop dlq list --json | python -m json.tool`
    """
    letters = asyncio.run(_fetch(data_dir, reason=reason, topic=topic, replayed=replayed, limit=limit + 1))
    letters, more = letters[:limit], len(letters) > limit
    if json:
        import msgspec

        print(msgspec.json.encode([letter.as_json() for letter in letters]).decode())
    elif letters:
        _print_letters(letters)
    else:
        kind, state = " of that kind" if reason or topic else "", "" if replayed else " that has not been sent again"
        print(f"There is no dead letter{kind}{state}.")
    if more:
        print(f"These are the newest {limit}; --limit N shows more.", file=sys.stderr)


@app.command()
def show(letter_id: LetterId, *, data_dir: DataDir = Path(".loanloop")) -> None:
    """One dead letter: why it was refused, and its bytes, in a file or a pipe as they came.

    **Examples**

    - `loanloop dlq show loan.received:2:1714`
    - `loanloop dlq show loan.received:2:1714 2>/dev/null > mended.json`, edit it, then `loanloop dlq replay`
    """
    dead = asyncio.run(_fetch_one(data_dir, letter_id))
    for name, value in _facts(dead).items():
        print(f"{name:>12}  {_readable(str(value))}", file=sys.stderr)
    if sys.stdout.isatty():
        print(_readable(dead.payload.decode(errors="backslashreplace")))
    else:
        sys.stdout.buffer.write(dead.payload)


@app.command()
def replay(
    letter_id: LetterId,
    *,
    mended: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            "--with",
            metavar="FILE",
            help="Send this event (JSON) in its place; `-` reads it from standard input.",
        ),
    ] = None,
    name: As = None,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Send a dead letter to its topic again, as it was or mended.

    As it was helps when the cause lay elsewhere: the portfolio was changed, the clock was wrong. It is judged like any
    new message; what is refused again is a new dead letter.

    **Examples**

    - `loanloop dlq replay loan.received:2:1714`
    - `loanloop dlq replay loan.received:2:1714 --with mended.json`
    - `docker compose run --rm -T --no-deps loanloop dlq replay loan.received:2:1714 --with - < mended.json`
    """
    topic = asyncio.run(_replay(data_dir, letter_id, mended, name))
    print(f"{letter_id} was sent to {topic}{'' if mended is None else f' as in {mended.name}'}.")


async def _fetch(
    data_dir: Path, *, reason: str | None, topic: str | None, replayed: bool, limit: int
) -> "list[DeadLetter]":
    from loanloop_common.rejected_rows import fetch_dead_letters

    from loanloop.operating import operated

    async with operated(data_dir) as installation:
        return await fetch_dead_letters(installation.pool, reason=reason, topic=topic, replayed=replayed, limit=limit)


async def _fetch_one(data_dir: Path, letter_id: str) -> "WholeDeadLetter":
    from loanloop.operating import operated
    from loanloop.sending_again import dead_letter_id, find_dead_letter

    which = dead_letter_id(letter_id)
    async with operated(data_dir) as installation:
        return await find_dead_letter(installation.pool, which)


async def _replay(data_dir: Path, letter_id: str, mended: BinaryIO | None, name: str | None) -> str:
    from loanloop_common.kafka import make_broker, stop_broker

    from loanloop.operating import operated, operator_name
    from loanloop.sending_again import dead_letter_id, find_dead_letter, read_event, send_again
    from loanloop.target import find_target
    from loanloop.telling import silence_aiokafka

    silence_aiokafka()
    which = dead_letter_id(letter_id)
    content = None if mended is None else read_event(mended)
    async with operated(data_dir) as installation:
        dead = await find_dead_letter(installation.pool, which)
        kafka = find_target(data_dir).kafka()
        broker = make_broker(kafka, service="dlq")
        await broker.connect()
        try:
            return await send_again(installation.pool, broker, dead, content, by=operator_name(name))
        finally:
            await stop_broker(broker)


def _facts(dead: "WholeDeadLetter") -> dict[str, object]:
    from loanloop.observe.words import named_with_login

    letter = dead.letter
    facts = {
        "id": letter.id,
        "refused by": letter.service,
        "reason": letter.reason,
        "message": letter.message,
        "field": letter.field,
        "rule": letter.rule,
        "key": dead.key and dead.key.decode(errors="replace"),
        "bytes": f"{letter.payload_bytes:,}" + ("" if dead.is_whole else f", of which {len(dead.payload):,} are kept"),
        "sha256": dead.payload_sha256.hex(),
        "traceparent": letter.traceparent,
        "refused at": letter.rejected_at.isoformat(timespec="seconds"),
        "replayed at": letter.replayed_at and letter.replayed_at.isoformat(timespec="seconds"),
        "replayed by": letter.replayed_by and named_with_login(letter.replayed_by, letter.replayed_login),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _print_letters(letters: "list[DeadLetter]") -> None:
    """Two lines each: beside an id of a file, a column of messages would be a few letters wide."""
    width = max(len(str(letter.id)) for letter in letters)
    for letter in letters:
        again = f", sent again {letter.replayed_at:{_MOMENT}}" if letter.replayed_at else ""
        print(_readable(f"{letter.id!s:<{width}}  {letter.reason}, {letter.rejected_at:{_MOMENT}}{again}"))
        print(_readable(f"    {' '.join(letter.message.split())}"))


def _readable(text: str) -> str:
    """Senders choose what is in a message: a terminal must not take it for its own control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
