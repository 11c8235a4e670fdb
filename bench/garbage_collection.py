"""Python's collector while something is measured."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from loanloop_common.garbage_collection import spare_collector


@contextmanager
def quiet_collector() -> Iterator[None]:
    """As the services have it. What is frozen at the end of the program is never freed, and onnx complains of that."""
    thresholds = gc.get_threshold()
    spare_collector()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
