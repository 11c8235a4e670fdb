"""What a training process is told, of one thread and in words for a terminal."""

import os
from typing import Any

from loanloop_trainer.runner.orders import Orders


def make_orders(**changes: Any) -> Orders:
    facts: dict[str, Any] = {
        "parent_pid": os.getpid(), "owner": "a", "portfolio": "", "dsn": "", "read_only_dsn": None, "processes": 1,
        "threads": 1, "niceness": 0, "checkpoint_every_s": 1, "stalls_after_s": 600,
        "log_format": "console", "log_level": "INFO",
    }  # fmt: skip
    return Orders(**facts | changes)
