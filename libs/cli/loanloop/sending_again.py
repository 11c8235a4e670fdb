"""Sending a dead letter again: which one is meant, what is sent in its place, and where to."""

from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
from loanloop_common.errors import LoanloopError
from loanloop_common.events import Topic
from loanloop_common.postgres import Pool
from loanloop_common.rejected_rows import DeadLetterId, WholeDeadLetter, fetch_dead_letter, mark_replayed
from loanloop_common.trace_context import headers_with

if TYPE_CHECKING:
    from loanloop_common.kafka import Broker


class DeadLetterUnusable(LoanloopError):
    """The dead letter asked for does not exist, or can't be sent again as it is."""


def dead_letter_id(text: str) -> DeadLetterId:
    """As `dlq list` shows it. Raises DeadLetterUnusable where the text is none."""
    topic, *numbers = text.rsplit(":", 2)
    try:
        partition, offset = map(int, numbers)
        topic.encode()
    except ValueError:
        raise _no_id(text) from None
    if not (0 <= partition < 1 << 31 and 0 <= offset < 1 << 63):
        raise _no_id(text)
    return DeadLetterId(topic, partition, offset)


def _no_id(text: str) -> DeadLetterUnusable:
    return DeadLetterUnusable(
        f"{text!r} is no dead letter's id: `loanloop dlq list` shows them, such as loan.received:2:1714"
    )


async def find_dead_letter(pool: Pool, which: DeadLetterId) -> WholeDeadLetter:
    """Raises DeadLetterUnusable when there is none."""
    found = await fetch_dead_letter(pool, which)
    if found is None:
        raise DeadLetterUnusable(f"there is no dead letter {which}: `loanloop dlq list` shows what there is")
    return found


def read_event(file: BinaryIO) -> bytes:
    """A mended event. Raises DeadLetterUnusable where the file holds no JSON object."""
    content = file.read().strip()
    try:
        msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        raise DeadLetterUnusable(f"{file.name} holds no JSON object ({broken}): nothing was sent") from broken
    return content


async def send_again(
    pool: Pool, broker: "Broker", dead: WholeDeadLetter, mended: bytes | None = None, *, by: str
) -> Topic:
    """Send it to the topic it came from, as it was or mended, and note that and by whom; the topic.

    It goes on with its trace. Raises DeadLetterUnusable where the original can't be sent.
    """
    from loanloop_common.kafka import Message, publish_messages  # half of the time that showing a list would take

    topic = _topic_of(dead, mended)
    payload = dead.payload if mended is None else mended
    message = Message(dead.key or _loan_id(payload), payload, headers_with(dead.letter.traceparent))
    await publish_messages(broker, topic, [message])
    await mark_replayed(pool, dead, by)
    return topic


def _topic_of(dead: WholeDeadLetter, mended: bytes | None) -> Topic:
    which = dead.letter.id
    from_file = which.topic.startswith("file:")
    if mended is None and (from_file or not dead.is_whole):
        kept = "is a row of a file" if from_file else "was too large, only its beginning is kept"
        raise DeadLetterUnusable(f"{which} {kept}: send a whole event with --with FILE")
    return Topic.LOAN_RECEIVED if from_file else Topic(which.topic.removeprefix("outbox:"))


class _OfLoan(msgspec.Struct):
    loan_id: str


def _loan_id(payload: bytes) -> bytes | None:
    try:
        return msgspec.json.decode(payload, type=_OfLoan).loan_id.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
