"""An option, else what runs on the data folder, else the settings say which installation is meant."""

import fcntl
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from loanloop.runtime.data_directory import RunState
from loanloop.runtime.ports import AssignedPorts
from loanloop.target import Target, find_target
from loanloop_common.errors import Unavailable
from loanloop_common.settings import ServiceSettings, SettingsInvalid

FOLDER = Path("/data/loans")
SET = ServiceSettings.model_validate(
    {
        "portfolio": "sba_application",
        "kafka": {"bootstrap_servers": "set:9092", "security_protocol": "SSL"},
        "postgres": {"dsn": "postgresql://set/loans", "read_only_dsn": "postgresql://replica/loans"},
    }
)
NOTHING_SET = ServiceSettings()


@pytest.fixture
def run(tmp_path: Path) -> RunState:
    (tmp_path / "dsn").write_text("postgresql://run/loans\n")
    return RunState(
        pid=1,
        started_at="2026-01-01T00:00:00+00:00",
        ports=AssignedPorts(kafka=0, kafka_controller=0, postgres=0, rest=0),
        kafka_bootstrap="run:9092",
        postgres_dsn_file=str(tmp_path / "dsn"),
        rest_url="",
        logs="",
        portfolio="sba",
    )


def test_an_option_comes_before_the_run_and_the_run_before_the_settings(run: RunState) -> None:
    running, stopped = Target(FOLDER, run, SET), Target(FOLDER, None, SET)

    assert [t.kafka().bootstrap_servers for t in (running, stopped)] == ["run:9092", "set:9092"]
    assert [t.dsn() for t in (running, stopped)] == ["postgresql://run/loans", "postgresql://set/loans"]
    assert [t.portfolio().name for t in (running, stopped)] == ["sba", "sba_application"]
    assert running.kafka("asked:1").bootstrap_servers == "asked:1"
    assert running.dsn("postgresql://asked") == "postgresql://asked"
    assert running.portfolio("sba_application").name == "sba_application"


def test_kafka_is_spoken_to_as_set_wherever_it_is(run: RunState) -> None:
    running = Target(FOLDER, run, SET)

    assert {kafka.security_protocol for kafka in (running.kafka(), running.kafka("asked:1"))} == {"SSL"}


@pytest.mark.parametrize("asked", ["localhost:99999", ",,", "user:SECRET@kafka:9092"])
def test_an_address_of_kafka_that_is_none_is_not_waited_for(asked: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^--kafka is not usable: it must be HOST:PORT") as refused:
        Target(FOLDER, None, SET).kafka(asked)

    assert "SECRET" not in str(refused.value)


def test_who_only_reads_reads_the_replica() -> None:
    assert Target(FOLDER, None, SET).dsn(read_only=True) == "postgresql://replica/loans"


def test_where_nothing_runs_and_nothing_is_set_the_sentence_says_what_to_do() -> None:
    nowhere = Target(FOLDER, None, NOTHING_SET)

    with pytest.raises(Unavailable, match=r"loanloop up --data-dir /data/loans.* or set LOANLOOP_POSTGRES__DSN"):
        nowhere.dsn()
    with pytest.raises(Unavailable, match="or set LOANLOOP_KAFKA__BOOTSTRAP_SERVERS"):
        nowhere.kafka()


def test_a_preset_is_found_by_the_name_that_the_database_keeps_and_a_file_has_to_be_named() -> None:
    target = Target(FOLDER, None, SET)

    assert [target.portfolio_named(name).name for name in ("sba_application", "sba")] == ["sba_application", "sba"]
    with pytest.raises(
        Unavailable,
        match=r"serves portfolio 'mine', the settings say 'sba_application': set LOANLOOP_PORTFOLIO to the path",
    ):
        target.portfolio_named("mine")


def test_what_runs_in_a_folder_below_is_pointed_to(run: RunState, tmp_path: Path) -> None:
    for name in ("demo", "stopped"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(asdict(run)))
        (tmp_path / name / "lock").touch()
    with (tmp_path / "demo" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with pytest.raises(Unavailable, match=f"one runs on {tmp_path}/demo: add --data-dir {tmp_path}/demo"):
            find_target(tmp_path).dsn()

    with pytest.raises(Unavailable, match="start `loanloop up"):
        find_target(tmp_path).dsn()
