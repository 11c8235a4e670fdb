"""An operator's act is kept with a name, also where the machine has none for its user."""

import os

import pytest
from loanloop.operating import operator_name


def test_a_user_without_a_name_is_kept_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)

    assert operator_name() == "uid 1234567"


def test_a_user_with_a_name_is_kept_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")

    assert operator_name() == "ada"
