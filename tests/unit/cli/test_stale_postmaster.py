"""What a PostgreSQL that died has left of its postmaster.pid."""

import os
from pathlib import Path

import pytest
from loanloop.runtime.postgres import _forget_dead_postmaster


@pytest.mark.parametrize(
    "left",
    [b"", b"\n", b"\0" * 40, b"\xff\xfe", f"{os.getpid()}\n/data\n".encode()],
    ids=["empty", "line", "zeros", "no text", "another program"],
)
def test_file_without_the_pid_of_a_living_server_is_removed(tmp_path: Path, left: bytes) -> None:
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_bytes(left)

    _forget_dead_postmaster(pid_file)

    assert not pid_file.exists()


def test_no_file_is_no_problem(tmp_path: Path) -> None:
    _forget_dead_postmaster(tmp_path / "postmaster.pid")
