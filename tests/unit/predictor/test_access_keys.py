"""The file of API keys, and what the settings ask for beyond loopback."""

import hashlib
from datetime import date
from pathlib import Path

import pytest
from loanloop_common.settings import SettingsInvalid, load_settings
from loanloop_predictor.config import PredictorSettings
from loanloop_predictor.domain.access import RateLimit, Role, TooManyRequests, Unauthenticated
from loanloop_predictor.domain.access_keys import KeysInvalid, caller_of, make_key, read_keys, written
from loanloop_predictor.store.keys_file import KeysFile, changed_keys, load_keys

NOW = 1_800_000_000.0
HOST, KEYS_FILE, PROXY = (f"LOANLOOP_PREDICTOR__{name}" for name in ("HOST", "KEYS_FILE", "OPEN_BEHIND_PROXY"))


def test_file_keeps_the_hash_of_a_key_and_not_the_key() -> None:
    key, kept = make_key("web-shop", Role.SCORE, bytes(range(32)))
    text = written([kept])

    assert key.startswith("loanloop_web-shop_")
    assert key not in text
    assert key.rpartition("_")[2] not in text
    assert text.splitlines()[-1] == f"web-shop score {hashlib.sha256(key.encode()).hexdigest()}"
    assert caller_of(key, read_keys(text), NOW).name == "key web-shop"


@pytest.mark.parametrize("created", [None, date(2026, 11, 26)])
@pytest.mark.parametrize("expires", [None, date(2027, 11, 26)])
def test_days_of_a_key_come_back_from_its_line(created: date | None, expires: date | None) -> None:
    _, kept = make_key("a", Role.READ, bytes(32), created=created, expires=expires)

    assert read_keys(written([kept])) == {"a": kept}


@pytest.mark.parametrize("key_id", ["", "Web", "a_b", "a b", "-a", "a" * 41, "a\n"])
def test_id_that_a_line_or_a_key_could_not_hold_is_refused(key_id: str) -> None:
    with pytest.raises(KeysInvalid, match="lower-case letters, digits and dashes"):
        make_key(key_id, Role.READ, bytes(32))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a score", "line 1 must be ID, role"),
        ("# fine\n\na admin " + "0" * 64, "line 3 must be ID, role"),
        ("a score " + "0" * 63, "line 1"),
        ("a score " + "0" * 64 + "\na read " + "1" * 64, "line 2 has an id that an earlier line has"),
        ("loanloop_web-shop_SECRET", "line 1"),
        ("a score " + "0" * 64 + " 2026-11-26", "line 1 must be ID, role"),
        ("a score " + "0" * 64 + " SECRET never", "line 1 must end with two days"),
        ("a score " + "0" * 64 + " 2026-11-26 2027-02-30", "line 1 must end with two days"),
    ],
)
def test_line_that_is_none_is_named_without_what_it_says(text: str, why: str) -> None:
    with pytest.raises(KeysInvalid, match=why) as refused:
        read_keys(text)
    assert "SECRET" not in str(refused.value)


def test_file_of_no_key_lets_in_nobody() -> None:
    key, _ = make_key("a", Role.READ, bytes(32))
    with pytest.raises(Unauthenticated):
        caller_of(key, read_keys("# none\n"), NOW)


def test_changed_file_is_read_again_and_a_broken_one_leaves_what_was_known(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "keys"
    key, kept = make_key("a", Role.READ, bytes(32))
    with changed_keys(path) as keys:
        keys["a"] = kept
    assert path.stat().st_mode & 0o777 == 0o600

    known = KeysFile(path)
    assert not known.look()
    path.write_text("a nonsense\n")
    with pytest.raises(KeysInvalid, match="line 1"):
        known.look()
    assert caller_of(key, known.keys, NOW).role is Role.READ

    path.unlink()
    with pytest.raises(KeysInvalid, match="there is no file"):
        known.look()
    path.write_text("# nobody\n")
    assert known.look()
    with pytest.raises(Unauthenticated):
        caller_of(key, known.keys, NOW)


def test_change_that_is_given_up_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# mine\n")
    path.chmod(0o640)
    with pytest.raises(KeyError), changed_keys(path) as keys:
        del keys["nobody"]
    assert (path.read_text(), [one.name for one in tmp_path.iterdir()]) == ("# mine\n", ["keys"])
    with changed_keys(path):
        pass
    assert path.stat().st_mode & 0o777 == 0o640
    assert load_keys(path) == {}


def test_bucket_refills_to_no_more_than_its_size_and_other_callers_have_their_own() -> None:
    limit = RateLimit(per_s=10, burst=2)
    for _ in range(2):
        limit.take("a", 0.0)
    with pytest.raises(TooManyRequests, match=r"a sends more than 10 requests a second; send it again in 0\.1 s"):
        limit.take("a", 0.0)
    limit.take("b", 0.0)
    for _ in range(2):
        limit.take("a", 100.0)
    with pytest.raises(TooManyRequests):
        limit.take("a", 100.0)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "predictor.example"])
def test_predictor_beyond_loopback_without_keys_does_not_start(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOST, host)
    with pytest.raises(SettingsInvalid) as refused:
        load_settings(PredictorSettings)
    assert str(refused.value) == (
        f"LOANLOOP_PREDICTOR is not usable: it would listen on {host} and let in everybody; set "
        "LOANLOOP_PREDICTOR__KEYS_FILE to a file of `loanloop keys new`, or LOANLOOP_PREDICTOR__OIDC_ISSUER, or "
        "LOANLOOP_PREDICTOR__OPEN_BEHIND_PROXY=true where a proxy asks who comes."
    )


@pytest.mark.parametrize(("name", "value"), [(HOST, "127.0.0.2"), (HOST, "::1"), (KEYS_FILE, "keys"), (PROXY, "true")])
def test_loopback_keys_or_a_proxy_that_asks_are_enough(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOST, "0.0.0.0")
    monkeypatch.setenv(name, value)
    assert load_settings(PredictorSettings).predictor.asks_for_keys == (name == KEYS_FILE)
