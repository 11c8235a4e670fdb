"""What a process holds, and held at its peak, and whether that grows."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil


def rss_mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def held_bytes() -> int:
    """By this process, once the memory that it has freed is given back to the system."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    return int(psutil.Process().memory_info().rss)


def forget_peak() -> None:
    """The peak counts from here."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Of this program alone; the kernel's `ru_maxrss` would remember the one that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def growth(held_mib: Sequence[float], over: float) -> float:
    """By the slope of the second half of the looks, times `over` of the equal distances between them.

    As a share of what was held half way.
    """
    half = held_mib[len(held_mib) // 2 :]
    slope = float(np.polyfit(np.arange(len(half)), half, 1)[0])
    return slope * over / half[0]
