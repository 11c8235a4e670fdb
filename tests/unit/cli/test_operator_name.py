"""An operator's act is kept with a name: the one that was given, else that of the process's user."""

import os
import pwd

import pytest
from loanloop.operating import operator_name


def test_a_user_without_a_name_is_kept_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)

    assert operator_name() == "uid 1234567"


def test_the_environment_does_not_say_who_the_user_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "the-cfo")

    assert operator_name() == pwd.getpwuid(os.getuid()).pw_name != "the-cfo"


def test_where_several_share_a_user_the_name_that_is_given_is_kept() -> None:
    assert operator_name("desk") == "desk"
