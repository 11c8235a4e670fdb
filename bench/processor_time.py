"""Processor time of what a benchmark has started: each service, PostgreSQL and Kafka with their children."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Set
from typing import Any

import psutil

from bench.machine import cores, own_cores

THIS, OTHERS, IDLE = "this benchmark", "other programs", "idle"
_SERVERS = {"postgres": "PostgreSQL", "java": "Kafka"}
_SERVICE = "loanloop-"


class ProcessorTime:
    """Since it was made. A second process of one service is called by its name and a number."""

    def __init__(self) -> None:
        self._before, self._busy_before, self._began = _used_s(), busy_s(own_cores()), time.perf_counter()

    def seconds(self) -> dict[str, float]:
        return {name: used - self._before.get(name, 0.0) for name, used in _used_s().items()}

    def us_each(self, n_done: int) -> dict[str, float]:
        return {name: used / n_done * 1e6 for name, used in self.seconds().items() if name != THIS}

    def shares(self) -> dict[str, float]:
        """Of the processor time that the cores had: who took it, what other programs did, and what nobody did."""
        had_s = cores() * (time.perf_counter() - self._began)
        all_s = busy_s(own_cores()) - self._busy_before
        took_s = self.seconds()
        took_s[OTHERS] = max(all_s - sum(took_s.values()), 0.0)
        took_s[IDLE] = max(had_s - sum(took_s.values()), 0.0)
        return {name: took / had_s for name, took in took_s.items()}


def _used_s() -> dict[str, float]:
    """A server's children that have ended count as long as it has waited for them."""
    used = {THIS: sum(os.times()[:2])}
    for name, process in _known_processes():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        used[name] = used.get(name, 0.0) + sum(times[:4])
    return used


def _known_processes() -> Iterator[tuple[str, psutil.Process]]:
    replicas: Counter[str] = Counter()
    for process in sorted(psutil.Process().children(recursive=True), key=lambda child: child.pid):
        try:
            program = (" ".join(process.cmdline()[:1]) or process.name()).rsplit("/", 1)[-1]
        except psutil.Error:
            continue
        if program.startswith(_SERVICE):
            name = program.removeprefix(_SERVICE)
            replicas[name] += 1
            yield name if replicas[name] == 1 else f"{name} {replicas[name]}", process
        for known, name in _SERVERS.items():
            if known in program:
                yield name, process


def busy_s(numbers: Set[int]) -> float:
    """Of these cores since the machine began, whoever kept them busy."""
    times = psutil.cpu_times(percpu=True)
    if len(times) != len(numbers):  # where they are all there are, their numbers may have gaps
        times = [times[number] for number in numbers]
    return sum(map(_busy_s_of, times))


def _busy_s_of(core: Any) -> float:
    idle = core.idle + getattr(core, "iowait", 0.0)
    return float(sum(core) - idle - getattr(core, "guest", 0.0) - getattr(core, "guest_nice", 0.0))
