"""What takes over where Maven or user namespaces are missing."""

import hashlib
import http.server
import io
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import asyncpg
import psutil
import pytest
from loanloop.runtime import postgres_account
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.kafka_jars import kafka_jars
from loanloop.runtime.ports import ANY_FREE, HOST
from loanloop.runtime.problems import CannotRun
from loanloop.runtime.settings import RuntimeSettings

pytestmark = pytest.mark.embedded


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer((HOST, 0), partial(QuietFiles, directory=str(folder)))
    threading.Thread(target=server.serve_forever).start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def make_archive(folder: Path) -> Path:
    archive = folder / "kafka.tgz"
    with tarfile.open(archive, "w:gz") as tarball:
        for name in ("kafka_x/libs/kafka_2.13-x.jar", "kafka_x/libs/other.jar", "kafka_x/bin/kafka-topics.sh"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tarball.addfile(member, io.BytesIO(b"jar"))
    return archive


def apaches_form(name: str, digest: str) -> str:
    """The hash in upper case and groups of eight, over several lines."""
    groups = [digest[i : i + 8].upper() for i in range(0, len(digest), 8)]
    return f"{name}: " + "\n ".join(" ".join(groups[i : i + 4]) for i in range(0, len(groups), 4)) + "\n"


def settings_without_maven(cache: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> RuntimeSettings:
    monkeypatch.setenv("PATH", str(cache))
    return RuntimeSettings(KAFKA_HOME=None, XDG_CACHE_HOME=cache, LOANLOOP_KAFKA_DOWNLOAD_URL=url)


def test_without_maven_the_tarball_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_archive(tmp_path)
    digest = hashlib.sha512(archive.read_bytes()).hexdigest()
    (tmp_path / "kafka.tgz.sha512").write_text(apaches_form("kafka.tgz", digest))

    with served(tmp_path) as address:
        settings = settings_without_maven(tmp_path / "cache", f"{address}/kafka.tgz", monkeypatch)
        jars = kafka_jars(settings, print)

    assert sorted(path.name for path in jars.iterdir()) == ["kafka_2.13-x.jar", "other.jar"]
    assert kafka_jars(settings, print) == jars


def test_a_tarball_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(tmp_path)
    (tmp_path / "kafka.tgz.sha512").write_text(f"{'0' * 128}  kafka.tgz\n")

    with served(tmp_path) as address:
        settings = settings_without_maven(tmp_path / "cache", f"{address}/kafka.tgz", monkeypatch)
        with pytest.raises(CannotRun, match="has SHA-512"):
            kafka_jars(settings, print)

    assert list((tmp_path / "cache" / "loanloop").iterdir()) == []


def test_without_maven_and_network_the_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_without_maven(tmp_path / "cache", f"http://{HOST}:1/kafka.tgz", monkeypatch)

    with pytest.raises(CannotRun, match="install Maven or connect to the Internet"):
        kafka_jars(settings, print)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; this run is an ordinary user's own")
async def test_root_without_namespaces_runs_postgres_as_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_account, "_works", lambda _: False)
    async with EmbeddedInfrastructure(tmp_path, ports=ANY_FREE) as infrastructure:
        connection = await asyncpg.connect(infrastructure.postgres_dsn)
        assert await connection.fetchval("SELECT 42") == 42
        await connection.close()
        server = psutil.Process(infrastructure.postgres.running().pid)
        home = Path(server.cwd()).parent

        assert server.uids().real != 0

    assert home.parent == Path("/var/lib/loanloop")
    shutil.rmtree(home)
