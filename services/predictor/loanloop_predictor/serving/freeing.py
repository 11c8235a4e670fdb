"""Gives back what a former version held. Without that a predictor grows by a megabyte or so with many of its swaps."""

import ctypes
import gc
from collections.abc import Callable


def _trim_of_libc() -> Callable[[int], int] | None:
    """glibc keeps what is freed in the arenas of the threads that took it; other systems have no such call."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


_trim = _trim_of_libc()


def free(held: list[object]) -> None:
    """Drops the last references in `held`. Takes milliseconds: call it in a thread."""
    held.clear()
    gc.collect()  # a version's codec makes classes, which refer to themselves
    if _trim:
        _trim(0)
