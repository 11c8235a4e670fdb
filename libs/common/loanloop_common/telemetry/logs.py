"""Logs: structlog and the standard library's loggers on one stream, in one format."""

import json
import logging
import re
import sys
import time
from datetime import date
from typing import Any, Literal, TextIO

import structlog

_FILL_THE_LOG = ("aiokafka", "opentelemetry")
_DIFFERS_EACH_TIME = re.compile(r"\b\d+\.\d+s\b|\b0x[0-9a-f]+\b")  # how long it waits now, where an object lies
_REMEMBERED = 200
# With a traceback, once a minute, by a pool of asyncpg that lost its last connection. Whoever asks the pool for one
# then says by itself that the database is away.
_POOLS_OWN_WORRY = "Failed to restore the pool connection floor"


class _AwayServer(logging.Filter):
    """Lets what these clients say through once in 30 s; while their server is away they would fill the log with it.

    And nothing of a pool's worry.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}  # the newest last

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == "asyncpg.pool":
            return not _words_of(record).startswith(_POOLS_OWN_WORRY)
        if not record.name.startswith(_FILL_THE_LOG):
            return True
        now, said = time.monotonic(), _DIFFERS_EACH_TIME.sub("", _words_of(record))
        if now - self._last.get(said, -30.0) < 30:
            return False
        self._last.pop(said, None)
        self._last[said] = now
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        return True


def _words_of(record: logging.LogRecord) -> str:
    """A line that does not fit its values must not end the client that writes it."""
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)


def set_up_logging(
    service: str, *, log_format: Literal["console", "json"], level: str = "INFO", stream: TextIO = sys.stderr
) -> None:
    """Route structlog and the standard library's loggers to one stream in one format."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name], processors=_rendering(log_format, stream)
        )
    )
    handler.addFilter(_AwayServer())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for library in ("aiokafka", "loanloop.faststream", "uvicorn.access", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)


def _rendering(log_format: str, stream: TextIO) -> list[Any]:
    # Plain tracebacks: structlog's own would print every local variable, a loan's fields among them.
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if log_format == "json":
        return [strip, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_as_json)]
    plain = structlog.dev.plain_traceback
    return [strip, structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]


def _as_json(facts: Any, **_: Any) -> str:
    """JSON has no NaN and no infinity; whoever reads the line would refuse all of it."""
    try:
        return json.dumps(facts, default=_as_text, allow_nan=False)
    except ValueError:
        lenient = json.dumps(facts, default=_as_text)
        return json.dumps(json.loads(lenient, parse_constant=lambda _: None))


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)
