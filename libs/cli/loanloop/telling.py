"""What a command says of its work: on stderr, so that its result alone goes into a pipe."""

import logging
import sys
from collections.abc import Callable

Tell = Callable[[str], None]


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def counted(n: int, one: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


def silence_aiokafka() -> None:
    """A Kafka that is away is said in one sentence, by Unavailable or in the view itself."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
