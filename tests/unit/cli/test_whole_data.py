"""Kafka's data and a database that stored them go together, or nothing starts."""

from pathlib import Path

import pytest
from loanloop.runtime.problems import CannotRun
from loanloop.runtime.whole_data import begin_restore, end_restore, refuse_parts


def with_loans_in_kafka(folder: Path) -> Path:
    (folder / "kafka" / "data" / "loan.received-0").mkdir(parents=True)
    return folder


def test_a_new_folder_and_a_whole_one_may_be_used(tmp_path: Path) -> None:
    refuse_parts(tmp_path, has_database=False)
    refuse_parts(with_loans_in_kafka(tmp_path), has_database=True)


def test_a_first_start_that_was_killed_before_there_was_a_database_is_none_of_this(tmp_path: Path) -> None:
    (tmp_path / "kafka" / "data").mkdir(parents=True)

    refuse_parts(tmp_path, has_database=False)


def test_loans_in_kafka_without_a_database_are_told_of(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="no database that has stored them: restore a backup"):
        refuse_parts(with_loans_in_kafka(tmp_path), has_database=False)


@pytest.mark.parametrize("has_database", [False, True])
def test_a_restore_that_was_broken_off_is_to_be_run_again(tmp_path: Path, has_database: bool) -> None:
    begin_restore(tmp_path)

    with pytest.raises(CannotRun, match="was broken off: run it again"):
        refuse_parts(tmp_path, has_database=has_database)

    end_restore(tmp_path)
    refuse_parts(tmp_path, has_database=has_database)
