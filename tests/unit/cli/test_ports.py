"""Where an installation listens: as asked, else as before, else as usual, else where there is room."""

import json
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from loanloop.runtime import ports
from loanloop.runtime.data_directory import DataDirectory, RunState
from loanloop.runtime.ports import ANY_FREE, HOST, AssignedPorts, Ports, assign_ports
from loanloop.runtime.problems import CannotRun


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    listening = socket.socket()
    listening.bind((HOST, 0))
    listening.listen()
    port: int = listening.getsockname()[1]
    yield port
    listening.close()


def test_the_page_goes_elsewhere_where_its_usual_port_is_taken_and_stays_there(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "USUAL", Ports(kafka=0, postgres=0, rest=0, page=taken))

    first = assign_ports(Ports(), None)

    assert first.page not in {taken, first.kafka, first.kafka_controller, first.postgres, first.rest}
    assert assign_ports(Ports(), first) == first
    with pytest.raises(CannotRun, match=f"Port {taken}, asked for with --page-port, is not free"):
        assign_ports(Ports(page=taken), None)


def test_a_port_of_rest_is_free_where_rest_is_to_listen(taken: int) -> None:
    elsewhere = assign_ports(Ports(rest=taken), None, rest_host="127.0.0.2")

    assert elsewhere.rest == taken
    with pytest.raises(CannotRun, match=f"Port {taken}, asked for with --port, is not free"):
        assign_ports(Ports(rest=taken), None, rest_host="0.0.0.0")


def test_rest_may_have_the_page_s_usual_port(monkeypatch: pytest.MonkeyPatch) -> None:
    free = assign_ports(ANY_FREE, None).page
    monkeypatch.setattr(ports, "USUAL", Ports(kafka=0, postgres=0, rest=0, page=free))

    assigned = assign_ports(Ports(rest=free), None)

    assert assigned.rest == free
    assert assigned.page not in {0, free}


def test_a_folder_from_before_there_was_a_page_gets_one(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    before = {"kafka": 1, "kafka_controller": 2, "postgres": 3, "rest": 4}
    run = asdict(
        RunState(
            pid=1, started_at="", ports=AssignedPorts(**before), kafka_bootstrap="", postgres_dsn_file="", rest_url="",
            logs="",
        )
    )  # fmt: skip
    del run["page_url"]
    (tmp_path / "run.json").write_text(json.dumps(run | {"ports": before}))

    read = directory.read_run()

    assert read is not None
    assert read.page_url == ""
    assert assign_ports(ANY_FREE, read.ports).page > 0
