"""The passwords and first keys of a deployment: made once, each for its reader."""

import stat
from pathlib import Path

import pytest
from loanloop.main import app
from loanloop.passwords import READERS, Made, make_passwords
from loanloop_common.errors import LoanloopError
from loanloop_predictor.domain.access import Role, Unauthenticated
from loanloop_predictor.domain.access_keys import caller_of
from loanloop_predictor.store.keys_file import load_keys
from typer.testing import CliRunner

NOW = 1_800_000_000.0


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_each_reader_gets_a_password_of_its_own(tmp_path: Path) -> None:
    make_passwords(tmp_path)
    passwords = [(tmp_path / name / "password").read_text() for name in ("postgres", *READERS)]
    assert len(set(passwords)) == len(READERS) + 1
    assert all(len(password) >= 32 for password in passwords)


def test_libpq_gets_the_same_password_in_a_file_that_nobody_else_can_read(tmp_path: Path) -> None:
    make_passwords(tmp_path)
    pgpass = tmp_path / "ingest" / "pgpass"
    assert pgpass.read_text() == f"*:*:*:ingest:{(tmp_path / 'ingest' / 'password').read_text()}\n"
    assert stat.S_IMODE(pgpass.stat().st_mode) == 0o600
    assert (tmp_path / "postgres" / "pgpass").read_text().startswith("*:*:*:loanloop:")


def test_a_second_run_changes_nothing_and_mends_what_is_missing(tmp_path: Path) -> None:
    make_passwords(tmp_path)
    before = contents(tmp_path)
    assert make_passwords(tmp_path) == Made([], None)
    (tmp_path / "trainer" / "pgpass").unlink()
    assert make_passwords(tmp_path) == Made([tmp_path / "trainer" / "pgpass"], None)
    assert contents(tmp_path) == before


def test_whatever_is_left_of_a_pair_is_made_to_agree(tmp_path: Path) -> None:
    make_passwords(tmp_path)
    (tmp_path / "ingest" / "password").unlink()
    (tmp_path / "page" / "pgpass").write_text("*:*:*:page:another\n")
    make_passwords(tmp_path)
    for name in ("ingest", "page"):
        password = (tmp_path / name / "password").read_text()
        assert (tmp_path / name / "pgpass").read_text() == f"*:*:*:{name}:{password}\n"
        assert stat.S_IMODE((tmp_path / name / "pgpass").stat().st_mode) == 0o600


def test_what_a_reader_logs_in_with_is_made_anew_and_no_other_changes(tmp_path: Path) -> None:
    make_passwords(tmp_path)
    before = contents(tmp_path)
    made = make_passwords(tmp_path, renew=["ingest", "operator"])
    after = contents(tmp_path)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        *(f"{reader}/{file}" for reader in ("ingest", "operator") for file in ("password", "pgpass")),
        *("operator/api_key", "rest/keys"),
    }
    assert after["ingest/pgpass"] == f"*:*:*:ingest:{after['ingest/password']}\n"
    assert made.operator_key == after["operator/api_key"]
    keys = load_keys(tmp_path / "rest" / "keys")
    assert caller_of(after["operator/api_key"], keys, NOW).role == Role.OPERATE
    with pytest.raises(Unauthenticated):
        caller_of(before["operator/api_key"], keys, NOW)


def test_a_reader_that_is_not_there_is_one_sentence_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(LoanloopError, match="'ingst' has no password here: it must be one of postgres, ingest"):
        make_passwords(tmp_path, renew=["ingst"])
    assert contents(tmp_path) == {}


def test_the_key_of_the_operator_goes_into_no_log(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["passwords", "--to", str(tmp_path)])
    key = (tmp_path / "operator" / "api_key").read_text()
    assert said.exit_code == 0
    assert key not in said.output
    assert str(tmp_path / "operator" / "api_key") in said.output


def test_the_first_key_may_operate_and_prometheus_may_only_read(tmp_path: Path) -> None:
    made = make_passwords(tmp_path)
    keys = load_keys(tmp_path / "rest" / "keys")
    held = {name: (tmp_path / name / "api_key").read_text() for name in ("operator", "prometheus")}
    assert made.operator_key == held["operator"]
    assert {name: caller_of(key, keys, NOW).role for name, key in held.items()} == {
        "operator": Role.OPERATE,
        "prometheus": Role.READ,
    }


def test_a_key_that_nobody_holds_any_more_is_replaced(tmp_path: Path) -> None:
    former = make_passwords(tmp_path).operator_key
    (tmp_path / "operator" / "api_key").unlink()
    key = make_passwords(tmp_path).operator_key
    keys = load_keys(tmp_path / "rest" / "keys")
    assert key
    assert caller_of(key, keys, NOW).role == Role.OPERATE
    with pytest.raises(Unauthenticated):
        caller_of(former or "", keys, NOW)


def test_keys_are_made_anew_where_the_file_that_knows_them_is_gone(tmp_path: Path) -> None:
    former = make_passwords(tmp_path).operator_key
    (tmp_path / "rest" / "keys").unlink()
    made = make_passwords(tmp_path)
    keys = load_keys(tmp_path / "rest" / "keys")
    assert made.operator_key not in (None, former)
    assert set(keys) == {"operator", "prometheus"}
    assert (tmp_path / "operator" / "api_key").read_text() == made.operator_key


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LoanloopError, match=r"cannot be written to .*file .*--to"):
        make_passwords(tmp_path / "file")
