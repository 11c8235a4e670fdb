"""Every command ends with one sentence, not with a traceback, at what it meets outside of itself."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from loanloop import main as command
from loanloop.commands import promote
from loanloop.options import DATA_DIR_VARIABLE
from loanloop_common.errors import LoanloopError
from typer.testing import CliRunner


def said_at(error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    def fail() -> None:
        raise error

    monkeypatch.setattr(command, "app", fail)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "the database went away"),
        (asyncpg.exceptions.ConnectionDoesNotExistError("closed in the middle"), "the database went away"),
        (asyncpg.InterfaceError("connection is closed"), "the database went away"),
        (asyncpg.InsufficientPrivilegeError("permission denied for schema"), "the database refused: permission denied"),
        (KafkaConnectionError("no broker"), "Kafka does not do it"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
)
def test_what_goes_away_is_said_in_one_sentence(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_at(error, monkeypatch, capsys)

    assert said.startswith("Error: ")
    assert sentence in said
    assert said.count("\n") == 1


_WITHOUT_TORCH = """
import sys
class WithoutTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, WithoutTorch())
from loanloop.main import main
main()
"""


def test_a_search_without_torch_as_in_the_commands_image_is_refused_in_one_sentence() -> None:
    command_line = [sys.executable, "-c", _WITHOUT_TORCH, "tune"]
    ended = subprocess.run(command_line, capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert "Error: a search trains, and torch is not installed here" in ended.stderr
    assert "Traceback" not in ended.stderr


_INTERRUPTED_AT_AN_IMPORT = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from loanloop.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["loanloop.main", "typer", "loanloop_common.errors", "asyncpg", "loanloop.target"])
def test_ctrl_c_ends_a_command_silently_however_early_it_comes(module: str) -> None:
    program = _INTERRUPTED_AT_AN_IMPORT.format(module=module)
    command_line = [sys.executable, "-c", program, "status"]
    ended = subprocess.run(command_line, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_the_console_script_and_the_module_begin_at_the_same_place() -> None:
    (script,) = entry_points(group="console_scripts", name="loanloop")

    assert script.value == "loanloop.__main__:main"


def test_a_mistake_of_the_command_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyError("forgotten")

    monkeypatch.setattr(command, "app", fail)
    with pytest.raises(KeyError):
        command.main()


def test_a_reason_that_is_no_text_is_refused_before_the_database_is_asked() -> None:
    ended = CliRunner().invoke(command.app, ["promote", "v3", "--reason", "\udcff"])

    assert ended.exit_code == 2
    assert "it must be UTF-8 text" in ended.output


def test_mlflows_address_with_a_login_is_refused_without_a_word_of_it() -> None:
    ended = CliRunner().invoke(command.app, ["mlflow", "--uri", "http://somebody:SECRET@mlflow:5000", "--once"])

    assert isinstance(ended.exception, LoanloopError)
    assert "MLFLOW_TRACKING_PASSWORD" in str(ended.exception)
    assert "SECRET" not in str(ended.exception) + ended.output


def test_the_data_folder_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    async def note(version: str, reason: str, name: str | None, data_dir: Path) -> None:
        asked.append(data_dir)

    monkeypatch.setattr(promote, "_promote", note)

    CliRunner().invoke(command.app, ["promote", "v3"], env={DATA_DIR_VARIABLE: "/data/loans"})
    CliRunner().invoke(command.app, ["promote", "v3", "--data-dir", "/asked"], env={DATA_DIR_VARIABLE: "/data/loans"})

    assert asked == [Path("/data/loans"), Path("/asked")]
