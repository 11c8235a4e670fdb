"""The folders where trainings meet, with real processes: those of killed ones go, those in use stay."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loanloop_trainer.runner.meeting import NEW_FOR_S, meeting_folder

HOLD = """
import sys
from loanloop_trainer.runner.meeting import meeting_folder
with meeting_folder() as folder:
    (folder / "meeting").write_text("here")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def training() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that meets others in a folder, made a while ago."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        made_at = folder.stat().st_mtime - NEW_FOR_S - 1
        os.utime(folder, (made_at, made_at))
        try:
            yield process, folder
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_folder_of_a_killed_training_is_removed_by_the_next_one(place: Path) -> None:
    with training() as (process, left):
        process.kill()
        process.wait()

        with meeting_folder() as folder:
            assert [*place.iterdir()] == [folder]

    assert not left.exists()


def test_folder_of_a_training_that_goes_on_stays() -> None:
    with training() as (_, used):
        with meeting_folder():
            pass

        assert (used / "meeting").read_text() == "here"


def test_folder_just_made_stays_though_nobody_has_locked_it_yet(place: Path) -> None:
    new = Path(tempfile.mkdtemp(prefix="loanloop-training-"))

    with meeting_folder():
        pass

    assert [*place.iterdir()] == [new]
