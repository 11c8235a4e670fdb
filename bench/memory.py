"""What a process holds, and whether that grows."""

from collections.abc import Sequence

import numpy as np
import psutil


def rss_mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def growth(held_mib: Sequence[float], over: float) -> float:
    """By the slope of the second half of the looks, times `over` of the equal distances between them.

    As a share of what was held half way.
    """
    half = held_mib[len(held_mib) // 2 :]
    slope = float(np.polyfit(np.arange(len(half)), half, 1)[0])
    return slope * over / half[0]
