"""What a benchmark that trains says while it runs: its own lines, each with the number of the fit it is about."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from bench.contenders import Fit
from bench.trials import Trial, Trials


@contextmanager
def only_errors_logged() -> Iterator[None]:
    """The trainer warns at each fit of the same field that knows the outcome, which the benchmark's notes name."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)


@dataclass
class Counted:
    """Says `3 of 42: ` and the line. A fit that was kept from before is counted, and nothing is said of it."""

    say: Callable[[str], None]
    n_fits: int = 0
    n_begun: int = 0

    def fit(self, trials: Trials, trial: Trial) -> Fit:
        self.n_begun += 1
        return trials.fit(trial)

    def __call__(self, line: str) -> None:
        self.say(f"{self.n_begun} of {self.n_fits}: {line}")
