"""Finished fits, kept so that a run that was cut off goes on where it stood.

Those of other code or other packages are not used, nor those of another device or number of cores: a fit's seconds are
of its machine.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import loanloop_trainer.model
from loanloop_common import bundle, features, portfolio, portfolio_part, scoring
from loanloop_trainer import domain

from bench.contenders import Fit
from bench.judging import Verdict
from bench.machine import computed_on, versions_of
from bench.result import RESULTS
from bench.whole_files import write_whole

FOLDER = RESULTS / "fits"
COMPUTING_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "onnxruntime", "openvino", "msgspec", "pyarrow")
_BENCH = Path(__file__).parent


class KeptFits:
    """`n_kept` counts those of this run that an earlier one had made. `on`: what they are computed on; None: this."""

    def __init__(self, folder: Path = FOLDER, *, on: dict[str, Any] | None = None) -> None:
        self._folder = folder
        self._on = on or computed_on()
        self._code = _code()  # as it was imported: a file that is edited while this runs changes no fit
        self.n_kept = 0

    def fit(self, key: dict[str, Any], make: Callable[[Path], Fit], say: Callable[[str], None]) -> Fit:
        """What `make` gives, or gave before for the same key and code, on the same; it gets a path for its checkpoint.

        `key["said"]` names it in words.
        """
        path = self._folder / f"{self._digest(key)}.json"
        if path.is_file():
            try:
                fit = _kept_in(path)
            except (ValueError, KeyError, TypeError) as damage:
                say(f"{path} is damaged ({damage!r}): made again")
            else:
                self.n_kept += 1
                return fit
        self._folder.mkdir(parents=True, exist_ok=True)
        fit = make(path.with_suffix(".checkpoint"))
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = json.dumps({"key": key, "on": self._on, "at": at, **asdict(fit)})
        write_whole(path, text.encode())
        say(f"{key['said']}: {_in_words(fit)}")
        return fit

    def _digest(self, key: dict[str, Any]) -> str:
        told = json.dumps([key, self._code, versions_of(COMPUTING_PACKAGES), self._on], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:20]


def _kept_in(path: Path) -> Fit:
    data = json.loads(path.read_text())
    return Fit(Verdict.from_dict(data["verdict"]), float(data["train_s"]))


def _in_words(fit: Fit) -> str:
    return f"ROC-AUC {fit.verdict.figures['roc_auc']:.4f} after {fit.train_s:.0f} s"


def _code() -> str:
    """Of all of this repository that decides what a fit gives."""
    folders = [Path(str(module.__file__)).parent for module in (loanloop_trainer.model, domain)]
    files = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    files += [Path(str(module.__file__)) for module in (bundle, features, portfolio, portfolio_part, scoring)]
    files += [
        _BENCH / name
        for name in ("contenders.py", "judging.py", "loans.py", "trials.py", "peers/lightgbm.py", "peers/lightgbm.txt")
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
