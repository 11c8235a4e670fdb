"""`loanloop.testing`, as tests/integration/README.md offers it to those who produce loans."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from tests.support.infrastructure import chosen_backend

pytestmark = pytest.mark.timeout(600)

README = Path(__file__).parents[1] / "README.md"
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
MORE_TESTS = """
import asyncio

import pytest


async def refused(loanloop, number):
    loan = loanloop.made_up_loan(number)
    del loan["features"]["state"]
    loanloop.produce(loan)
    return loan["event_id"]


def test_who_waits_for_a_refused_loan_is_told_the_rule_at_once(loanloop):
    event_id = asyncio.run(refused(loanloop, 300))

    with pytest.raises(AssertionError, match="loanloop refused .* on loan.received: features.state"):
        loanloop.wait_for_decision(event_id, within_s=60)
    with pytest.raises(AssertionError, match="features.state"):
        loanloop.wait_until_stored(event_id, within_s=60)


def test_who_waits_in_vain_hears_of_a_message_that_has_no_id(loanloop):
    loanloop.produce({"loan_id": "x"})

    with pytest.raises(AssertionError, match="was not decided within 5 s, and a message without a readable event_id"):
        loanloop.wait_for_decision("5f0c7a52-7a1c-4d0a-9a0b-0d0f3f0b8a11", within_s=5)
    assert [refusal.event_id for refusal in loanloop.refusals].count(None) == 1
"""


def write_readme_files(folder: Path) -> None:
    blocks = re.findall(r"`(\w+\.py)`[^\n]*:\n\n```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert [name for name, _ in blocks] == ["conftest.py", "producer.py", "test_producer.py"]
    for name, text in blocks:
        (folder / name).write_text(text)


async def run_pytest(folder: Path, *options: str, **env: str) -> tuple[int | None, str]:
    variables = ["env", *(f"{name}={value}" for name, value in env.items())]
    command = [*variables, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=PIPE, stderr=STDOUT)
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_the_tests_of_the_readme_pass_as_they_stand(tmp_path: Path) -> None:
    write_readme_files(tmp_path)
    (tmp_path / "test_more.py").write_text(MORE_TESTS)

    code, said = await run_pytest(tmp_path, "--loanloop-backend", chosen_backend(), f"--basetemp={tmp_path}/data")

    assert code == 0, said
    assert "6 passed" in said


async def test_without_an_engine_each_test_fails_with_one_sentence(tmp_path: Path) -> None:
    write_readme_files(tmp_path)

    # -rN: pytest's summary says it once more, whole where the variable CI is set.
    code, said = await run_pytest(tmp_path, "-q", "-rN", "-k", "decided", f"--basetemp={tmp_path}/data", **NO_ENGINE)

    assert code == 1
    assert said.count("No Docker engine answers at unix:///nowhere/docker.sock (No such file or directory)") == 1
    assert "Traceback" not in said
    assert "skipped" not in said


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        ("containers", r"No Docker engine answers at .* start one, or name another in DOCKER_HOST\."),
        (
            "podman",
            r"LOANLOOP_TEST_BACKEND=podman is none of the backends embedded and containers: choose one of them\.",
        ),
    ],
)
async def test_a_backend_that_cannot_be_had_ends_the_suite(backend: str, sentence: str) -> None:
    folder = README.parent
    code, said = await run_pytest(folder, "common", "-n", "2", LOANLOOP_TEST_BACKEND=backend, **NO_ENGINE)

    assert code == pytest.ExitCode.USAGE_ERROR
    assert re.fullmatch(rf"ERROR: {sentence}[^\n]*", said.strip())
