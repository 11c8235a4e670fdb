"""What `loanloop backup` and `loanloop restore` refuse, and what is left where they are killed."""

import asyncio
import contextlib
import gzip
import json
import os
import shutil
import signal
import uuid
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from loanloop.backups.checking import check_backup
from loanloop.backups.manifest import BackupUnusable, read_manifest, read_sums
from loanloop.backups.session import connect
from loanloop.backups.taking import Source, back_up
from loanloop.runtime.installation import quiet
from loanloop_common.events import Topic
from loanloop_common.kafka import create_topics
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import known_migrations, migrate
from loanloop_common.settings import KafkaSettings

from tests.integration.cli.world import LOANLOOP, NO_ENVIRONMENT, WIDE, Answer, loanloop, says_in_one_sentence
from tests.support.eventually import eventually
from tests.support.infrastructure import Backend, delete_topics

BEGIN = "INSERT INTO loan_data.installation (portfolio, schema_hash) VALUES ('sba', $1)"
MODEL = b"bytes of a bundle\\\n\t\x00"
FILL = """
    INSERT INTO loan_data.raw_data (event_id, topic, kafka_partition, kafka_offset, loan_id, occurred_at, payload)
    SELECT gen_random_uuid(), 'loan.received', 0, i, E'loan\\t\\\\N\\n' || i, now(), convert_to(md5(i::text), 'UTF8')
    FROM generate_series(1, $1) AS i
"""
ADD_MODEL = """
    WITH run AS (
        INSERT INTO loan_data.training_runs (trigger, portfolio, state, seed)
        VALUES ('manual', 'sba', 'succeeded', 0) RETURNING run_id
    )
    INSERT INTO loan_data.model_metadata
        (version, number, run_id, portfolio, schema_hash, train_from, train_to, n_rows, hyperparameters, metrics,
         manifest, bundle, bundle_sha256)
    SELECT 'v' || $1::integer, $1, run_id, 'sba', '', now(), now(), 0, '{}', '{}', '{}', $2::bytea, sha256($3::bytea)
    FROM run
"""

# Of three loans one was decided and one is of the past; an outcome came before its loan.
ADD_UNDECIDED = """
    INSERT INTO loan_data.processed_data (loan_id, event_id, occurred_at, features, is_history) VALUES
        ('waiting', gen_random_uuid(), now(), '{}', false), ('past', gen_random_uuid(), now(), '{}', true),
        ('decided', '0b9d5f5e-6f0e-4c1c-9d0e-2f6f0a3f1c01', now(), '{}', false), ('outcome', NULL, NULL, NULL, NULL);
    INSERT INTO loan_data.decision_keys (event_id, decision_id, payload_sha256)
    VALUES ('0b9d5f5e-6f0e-4c1c-9d0e-2f6f0a3f1c01', gen_random_uuid(), '');
"""


@dataclass
class Site:
    infrastructure: Backend
    dsn: str
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        return {
            "LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": self.infrastructure.kafka_bootstrap,
            "LOANLOOP_POSTGRES__DSN": self.dsn,
            "LOANLOOP_PORTFOLIO": "sba",
        }

    async def run(self, *arguments: str, **settings: str) -> Answer:
        return await loanloop(*arguments, data_dir=self.folder / "nothing", **self.settings | settings)

    async def back_up(self, *, dsn: str | None = None, keep: int | None = None) -> Path:
        kafka = KafkaSettings(bootstrap_servers=self.infrastructure.kafka_bootstrap)
        source = Source(kafka=kafka, dsn=dsn or self.dsn, portfolio="sba")
        return (await back_up(source, self.folder / "backups", keep=keep, tell=quiet)).path

    async def execute(self, statement: str, *arguments: object, dsn: str | None = None) -> None:
        connection = await asyncpg.connect(dsn or self.dsn)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    async def content(self, table: str, *, dsn: str) -> list[str]:
        connection = await asyncpg.connect(dsn)
        try:
            rows = await connection.fetch(f"SELECT t::text AS row FROM loan_data.{table} AS t ORDER BY 1")
        finally:
            await connection.close()
        return [row["row"] for row in rows]

    @contextlib.asynccontextmanager
    async def empty_database(self) -> AsyncIterator[str]:
        name = f"empty_{uuid.uuid4().hex[:8]}"
        await self.execute(f"CREATE DATABASE {name}")
        yield self.infrastructure.postgres_dsn_of(name)
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def restore(self, backup: Path, dsn: str) -> Answer:
        return await self.run("restore", str(backup), LOANLOOP_POSTGRES__DSN=dsn)

    async def commit(self, group: str, offsets: dict[TopicPartition, int]) -> None:
        bootstrap = self.infrastructure.kafka_bootstrap
        async with AIOKafkaConsumer(group_id=group, bootstrap_servers=bootstrap, enable_auto_commit=False) as consumer:
            consumer.assign(list(offsets))
            await consumer.commit(offsets)

    async def committed(self, group: str, *partitions: TopicPartition) -> list[int | None]:
        bootstrap = self.infrastructure.kafka_bootstrap
        async with AIOKafkaConsumer(group_id=group, bootstrap_servers=bootstrap, enable_auto_commit=False) as consumer:
            return [await consumer.committed(one) for one in partitions]


@pytest.fixture
async def site(infrastructure: Backend, database: str, topics: str, tmp_path: Path) -> Site:
    assert topics == infrastructure.kafka_bootstrap
    site = Site(infrastructure, database, tmp_path)
    await site.execute(BEGIN, load_portfolio("sba").schema_hash)
    await site.execute(FILL, 1000)
    await site.execute(ADD_MODEL, 1, MODEL, MODEL)
    return site


TEN = [str(offset) for offset in range(1, 11)]
LOANS = [TopicPartition(Topic.LOAN_RECEIVED, partition) for partition in range(4)]


async def test_groups_go_back_to_where_they_were_when_the_backup_was_taken(site: Site) -> None:
    await site.commit("ingest", {LOANS[0]: 0, LOANS[1]: 17})
    backup = await site.back_up()
    await site.commit("ingest", {LOANS[0]: 40, LOANS[1]: 41, LOANS[2]: 42})

    async with site.empty_database() as dsn:
        answer = await site.restore(backup, dsn)

        assert answer.code == 0, answer.err
        assert await site.committed("ingest", *LOANS) == [0, 17, 0, 0]
        assert await site.content("raw_data", dsn=dsn) == await site.content("raw_data", dsn=site.dsn)
        assert await site.content("model_metadata", dsn=dsn) == await site.content("model_metadata", dsn=site.dsn)


async def test_of_a_topic_that_was_made_anew_the_start_is_taken_and_what_it_lacks_is_said(site: Site) -> None:
    await site.execute(ADD_UNDECIDED)
    await site.commit("ingest", {LOANS[1]: 17})
    backup = await site.back_up()
    await delete_topics(site.infrastructure.kafka_bootstrap)
    await create_topics(site.infrastructure.kafka_bootstrap)
    await site.commit("ingest", {LOANS[1]: 5})

    async with site.empty_database() as dsn:
        answer = await site.restore(backup, dsn)

        assert answer.code == 0, answer.err
        assert await site.committed("ingest", *LOANS) == [0, 0, 0, 0]
        assert (
            "This Kafka has none of the messages of then. Loans that are stored and have no decision: 1." in answer.err
        )


async def test_restore_refuses_what_is_not_empty_and_leaves_it_as_it_is(site: Site) -> None:
    backup = await site.back_up()

    answer = await site.restore(backup, site.dsn)

    assert (answer.code, answer.out) == (1, b"")
    assert "Error: the database is not empty (loan_data.model_metadata has rows)" in answer.err
    assert len(await site.content("raw_data", dsn=site.dsn)) == 1000
    await site.infrastructure.start_service("ingest", **site.settings)
    assert await eventually(lambda: site.content("service_instances", dsn=site.dsn), within_s=60)


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL])
async def test_a_look_at_a_full_database_that_is_broken_off_lets_nobody_delete_it(
    site: Site, ended_by: signal.Signals
) -> None:
    backup = await site.back_up()
    rows = await site.content("raw_data", dsn=site.dsn)
    looking = """
        SELECT EXISTS (
            SELECT FROM pg_stat_activity WHERE application_name = 'loanloop-restore' AND wait_event = 'relation'
        )
    """
    holding, watching = await asyncpg.connect(site.dsn), await asyncpg.connect(site.dsn)
    try:
        async with holding.transaction():
            await holding.execute("LOCK TABLE loan_data.alerts IN ACCESS EXCLUSIVE MODE")
            await killed_once(site, "restore", str(backup), when=lambda: watching.fetchval(looking), by=ended_by)
    finally:
        await asyncio.gather(holding.close(), watching.close())
    again = await site.restore(backup, site.dsn)

    assert again.code == 1
    assert "Error: the database is not empty (loan_data.model_metadata has rows)" in again.err
    assert await site.content("raw_data", dsn=site.dsn) == rows
    await site.infrastructure.start_service("ingest", **site.settings)


async def test_restore_waits_for_no_service_that_still_consumes(site: Site) -> None:
    backup = await site.back_up()
    bootstrap = site.infrastructure.kafka_bootstrap
    async with (
        AIOKafkaConsumer(Topic.LOAN_RECEIVED, group_id="predictor", bootstrap_servers=bootstrap) as consumer,
        site.empty_database() as dsn,
    ):
        await eventually(consumer.assignment)

        answer = await site.restore(backup, dsn)

    assert answer.code == 1
    assert "Kafka's group predictor has members: stop the services" in answer.err


async def test_a_backup_of_an_older_schema_is_brought_up_to_date(site: Site) -> None:
    older = known_migrations()[:8]
    async with site.empty_database() as old, site.empty_database() as new:
        await migrate(old, only=older)
        connection = await asyncpg.connect(site.dsn)
        hash_ = await connection.fetchval("SELECT schema_hash FROM loan_data.installation")
        await connection.close()
        await site.execute(BEGIN, hash_, dsn=old)
        await site.execute(FILL, len(TEN), dsn=old)
        key = "INSERT INTO loan_data.event_keys (event_id, payload_sha256) SELECT event_id, '' FROM loan_data.raw_data"
        await site.execute(key, dsn=old)
        backup = await site.back_up(dsn=old)
        await migrate(new)

        assert read_manifest(backup).migrations == older
        restored = await site.restore(backup, new)

        assert restored.code == 0, restored.err
        assert f"{len(known_migrations()) - 8} newer migrations applied" in restored.err
        # The ninth fills in where each event lay, in the last column.
        assert {row.rstrip(")").split(",")[-1] for row in await site.content("event_keys", dsn=new)} == set(TEN)


async def test_a_backup_of_a_newer_schema_is_refused(site: Site) -> None:
    await site.execute(
        "INSERT INTO _yoyo_migration (migration_hash, migration_id) VALUES ('x', '9999_from_the_future')"
    )
    backup = await site.back_up()

    async with site.empty_database() as dsn:
        answer = await site.restore(backup, dsn)

    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith(
        "Error: the backup has schema version 9999_from_the_future and this loanloop knows"
    )


def changed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda backup: changed(backup / "tables" / "raw_data.gz"), "raw_data.gz is not as it was written"),
    (lambda backup: changed(backup / "manifest.json"), "manifest.json"),
    (lambda backup: os.truncate(backup / "tables" / "raw_data.gz", 99), "raw_data.gz is not as it was written"),
    (lambda backup: (backup / "tables" / "raw_data.gz").unlink(), "raw_data.gz cannot be read: No such file"),
    (lambda backup: (backup / "SHA256SUMS").unlink(), "the backup is not whole"),
    (lambda backup: (backup / "manifest.json").unlink(), "holds no whole backup"),
]


async def test_a_backup_that_is_not_as_it_was_written_is_refused(site: Site) -> None:
    backup = await site.back_up()
    for number, (damage, said) in enumerate(DAMAGES):
        damaged = shutil.copytree(backup, site.folder / str(number))
        damage(damaged)
        with pytest.raises(BackupUnusable, match=said):
            check_backup(damaged, quiet)

    checked = await site.run("backup", "--check", str(site.folder / "0"))
    async with site.empty_database() as dsn:
        restored = await site.restore(site.folder / "0", dsn)

    for answer in (checked, restored):
        says_in_one_sentence(answer, "raw_data.gz is not as it was written")


async def test_sums_are_those_that_other_tools_read(site: Site) -> None:
    backup = await site.back_up()

    process = await asyncio.create_subprocess_exec("sha256sum", "-c", "SHA256SUMS", cwd=backup, stdout=PIPE)
    said, _ = await process.communicate()

    assert process.returncode == 0
    assert said.decode().count(": OK") == len(read_sums(backup))
    assert gzip.decompress((backup / "tables" / "raw_data.gz").read_bytes()).count(b"\n") == 1000


async def test_a_model_that_is_corrupt_in_the_database_is_told_of_and_kept(site: Site) -> None:
    await site.execute(ADD_MODEL, 2, MODEL, b"other bytes")

    answer = await site.run("backup", "--to", str(site.folder / "backups"))
    (backup,) = (site.folder / "backups").glob("loanloop-*")

    assert answer.code == 0
    assert "Warning: the bundle of v2 does not match its hash in the database itself." in answer.err
    assert (await site.run("backup", "--check", str(backup))).code == 0


async def test_older_backups_of_this_installation_alone_are_removed(site: Site) -> None:
    first = await site.back_up()
    other = first.with_name("loanloop-other-20200101T000000Z")
    shutil.copytree(first, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"begun_at": "2020-01-01T00:00:00Z"}))
    await asyncio.sleep(1)
    second = await site.back_up(keep=2)
    await asyncio.sleep(1)
    third = await site.back_up(keep=2)

    listed = await site.run("backup", "--list", "--json", "--to", str(third.parent))

    assert {Path(one["path"]) for one in json.loads(listed.out)} == {second, third, other}
    assert not first.exists()


async def killed_once(
    site: Site, *arguments: str, when: object, by: signal.Signals = signal.SIGKILL, **settings: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        LOANLOOP, *arguments, env=NO_ENVIRONMENT | WIDE | site.settings | settings, stdout=PIPE, stderr=PIPE
    )
    try:
        await eventually(when, within_s=60, every_s=0.01)  # type: ignore[call-overload]
        assert process.returncode is None, "it was over too soon to be killed"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(by)
        await process.communicate()


async def test_a_killed_backup_is_no_backup_and_the_next_one_clears_it_away(site: Site) -> None:
    await site.execute(FILL, 300_000)
    folder = site.folder / "backups"

    await killed_once(
        site, "backup", "--to", str(folder), when=lambda: list(folder.glob(".unfinished-*/tables/raw_data.gz"))
    )
    left = list(folder.glob(".unfinished-*"))
    listed = await site.run("backup", "--list", "--to", str(folder))
    backup = await site.back_up()

    assert len(left) == 1
    assert listed.out.startswith(b"There is no backup in")
    assert sorted(path.name for path in folder.iterdir()) == [".lock", backup.name]


async def test_a_killed_restore_lets_no_service_start_and_is_begun_again(site: Site) -> None:
    await site.execute(FILL, 300_000)
    backup = await site.back_up()
    async with site.empty_database() as dsn:

        async def loading() -> bool:
            connection = await asyncpg.connect(dsn)
            try:
                return bool(
                    await connection.fetchval(
                        "SELECT EXISTS (SELECT FROM pg_stat_progress_copy WHERE tuples_processed > 10000)"
                    )
                )
            finally:
                await connection.close()

        await killed_once(site, "restore", str(backup), when=loading, LOANLOOP_POSTGRES__DSN=dsn)
        ingest = await site.infrastructure.start_service("ingest", **site.settings | {"LOANLOOP_POSTGRES__DSN": dsn})
        code = await asyncio.wait_for(ingest.wait(), 60)
        said = site.infrastructure.log_of("ingest").read_text()
        again = await site.restore(backup, dsn)

        assert code == 2
        assert "a restore into this database has not ended" in said
        assert again.code == 0, again.err
        assert len(await site.content("raw_data", dsn=dsn)) == 301_000
        assert await site.content("model_metadata", dsn=dsn) == await site.content("model_metadata", dsn=site.dsn)
        await site.infrastructure.start_service("ingest", **site.settings | {"LOANLOOP_POSTGRES__DSN": dsn})
        assert await eventually(lambda: site.content("service_instances", dsn=dsn), within_s=60)


async def test_a_disk_that_takes_no_more_is_said_so_and_nothing_is_left(site: Site) -> None:
    await site.execute(FILL, 20_000)
    folder = site.folder / "backups"
    limited = f"ulimit -f 200; exec {LOANLOOP} backup --to {folder}"

    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", limited, env=NO_ENVIRONMENT | WIDE | site.settings, stdout=PIPE, stderr=PIPE
    )
    _, err = await process.communicate()

    assert process.returncode == 1
    assert err.decode().splitlines()[-1].startswith(f"Error: {folder} does not take the backup (File too large)")
    assert [path.name for path in folder.iterdir()] == [".lock"]


async def test_servers_out_of_reach_are_said_in_one_sentence(site: Site) -> None:
    nobody = "127.0.0.1:1"
    to = ("--to", str(site.folder / "backups"))
    kafka = await site.run("backup", *to, LOANLOOP_KAFKA__BOOTSTRAP_SERVERS=nobody)
    postgres = await site.run("backup", *to, LOANLOOP_POSTGRES__DSN=f"postgresql://loanloop@{nobody}/loanloop")

    says_in_one_sentence(kafka, f"Kafka at {nobody} does not answer")
    says_in_one_sentence(postgres, "PostgreSQL does not take the connection")


async def test_a_restore_shows_itself_to_postgresql_as_what_it_is(site: Site) -> None:
    connection = await connect(site.dsn, application_name="restore")
    try:
        asked = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        assert await connection.fetchval(asked) == "loanloop-restore"
    finally:
        await connection.close()
