"""What `loanloop backup` writes, refuses, and leaves where it is killed."""

import asyncio
import gzip
import json
import os
import shutil
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest
from loanloop.backups.checking import check_backup
from loanloop.backups.manifest import BackupUnusable, read_sums
from loanloop.runtime.installation import quiet

from tests.integration.cli.backup_site import ADD_MODEL, FILL, MODEL, Site
from tests.integration.cli.world import LOANLOOP, NO_ENVIRONMENT, WIDE, says_in_one_sentence


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


async def test_a_killed_backup_is_no_backup_and_the_next_one_clears_it_away(site: Site) -> None:
    await site.execute(FILL, 300_000)
    folder = site.folder / "backups"

    await site.killed_once(
        "backup", "--to", str(folder), when=lambda: list(folder.glob(".unfinished-*/tables/raw_data.gz"))
    )
    left = list(folder.glob(".unfinished-*"))
    listed = await site.run("backup", "--list", "--to", str(folder))
    backup = await site.back_up()

    assert len(left) == 1
    assert listed.out.startswith(b"There is no backup in")
    assert sorted(path.name for path in folder.iterdir()) == [".lock", backup.name]


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
