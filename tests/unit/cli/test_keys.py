"""`loanloop keys`, as it is typed."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from loanloop.main import app
from loanloop_common.errors import LoanloopError
from loanloop_predictor.domain.access import Unauthenticated
from loanloop_predictor.domain.access_keys import caller_of
from loanloop_predictor.store.keys_file import load_keys
from typer.testing import CliRunner, Result

NOW = time.time()


def keys(path: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["keys", *words, "--file", str(path)])


def test_key_is_printed_once_listed_by_id_and_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    made = keys(path, "new", "web-shop", "--role", "score")
    key = made.stdout.strip()
    keys(path, "new", "prometheus", "--role", "read")

    assert "web-shop may ask REST for decisions" in made.stderr
    assert caller_of(key, load_keys(path), NOW).role == "score"
    assert keys(path, "list").stderr.split() == ["id", "role", "made", "expires"]
    listed = keys(path, "list").stdout
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert [line.split() for line in listed.splitlines()] == [
        ["web-shop", "score", today, "never"], ["prometheus", "read", today, "never"],
    ]  # fmt: skip
    assert keys(path, "revoke", "web-shop").stdout == "web-shop is revoked\n"
    assert list(load_keys(path)) == ["prometheus"]


def test_key_of_some_days_is_refused_after_them(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = keys(path, "new", "guest", "--role", "score", "--days", "2").stdout.strip()
    ends = datetime.now(UTC).date() + timedelta(days=2)

    assert keys(path, "list").stdout.split()[-1] == str(ends)
    midnight = datetime(ends.year, ends.month, ends.day, tzinfo=UTC).timestamp()
    assert caller_of(key, load_keys(path), midnight - 1).role == "score"
    with pytest.raises(Unauthenticated, match="has expired"):
        caller_of(key, load_keys(path), midnight)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["new", "a", "--role", "read"], "has a key a already: revoke it first"),
        (["new", "A", "--role", "read"], "lower-case letters"),
        (["revoke", "b"], "has no key b"),
    ],
)
def test_what_can_not_be_done_is_said_and_changes_nothing(tmp_path: Path, words: list[str], sentence: str) -> None:
    path = tmp_path / "keys"
    keys(path, "new", "a", "--role", "score")
    before = path.read_text()

    error = keys(path, *words).exception
    assert isinstance(error, LoanloopError)
    assert sentence in str(error)
    assert path.read_text() == before


def test_unknown_role_and_missing_file_are_said(tmp_path: Path) -> None:
    wrong = keys(tmp_path / "keys", "new", "a", "--role", "admin")
    assert (wrong.exit_code, "'admin' is none" in wrong.output) == (2, True)
    for words in (["list"], ["revoke", "a"]):
        missing = keys(tmp_path / "keys", *words).exception
        assert "`loanloop keys new` makes one" in str(missing)
    assert list(tmp_path.iterdir()) == []


def test_through_a_link_the_file_is_changed_that_it_names(tmp_path: Path) -> None:
    path, link = tmp_path / "keys", tmp_path / "link"
    keys(path, "new", "shop", "--role", "score")
    link.symlink_to(path)

    assert keys(link, "revoke", "shop").stdout == "shop is revoked\n"
    assert load_keys(path) == {}
    assert link.is_symlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["keys", "link"]
