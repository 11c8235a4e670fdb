"""An installation is broken in each of the ways that docs/runbooks tells of, and its commands are run as they stand."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from loanloop_common.events import Topic

from tests.e2e.installed import N_HISTORY, Installed, blocks_of
from tests.e2e.world import loans
from tests.support.eventually import eventually
from tests.support.tiny_portfolio import write_tiny_portfolio

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
async def installed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installed]:
    """One for all runbooks, with a model that decides and a backup: each leaves it whole."""
    installed = Installed(tmp_path_factory.mktemp("installed"))
    portfolio = write_tiny_portfolio(installed.folder, epochs=6, learning_rate=1e-2)
    try:
        await installed.start_up("--portfolio", str(portfolio))
        await installed.send(Topic.LOAN_RECEIVED, [loan.history for loan in loans(N_HISTORY)])
        await eventually(lambda: installed.value("SELECT count(*) FROM loan_data.deployments"), within_s=200, every_s=1)
        await installed.send_new(20)
        await installed.has_all()
        yield installed
    finally:
        await installed.end()


async def test_the_backup_that_the_runbooks_rest_on_is_made_and_checked(installed: Installed) -> None:
    said = await installed.shell(blocks_of("README")[1])

    assert "1 model," in said


async def test_a_service_that_hangs_is_ended_and_goes_on(installed: Installed) -> None:
    hanging = installed.run.pids["predictor"]
    os.kill(hanging, signal.SIGSTOP)
    await installed.send_new(20)
    await asyncio.sleep(11)

    said = await installed.follow("service-failure")

    assert "away for" in said
    assert installed.run.pids["predictor"] != hanging
    await installed.has_all()


async def test_a_poison_message_is_mended_and_sent_again(installed: Installed) -> None:
    (poisoned,) = loans(1, first=N_HISTORY + len(installed.sent))
    installed.sent.append(poisoned)
    bad = poisoned.received | {"features": poisoned.features | {"share": 1.5}}
    await installed.send(Topic.LOAN_RECEIVED, [bad])
    await eventually(lambda: installed.value("SELECT count(*) FROM loan_data.rejected"), within_s=60, every_s=1)

    said = await installed.follow("poison-messages")

    assert "features.share = 1.5" in said
    assert said.rstrip().endswith("There is no dead letter that has not been sent again.")
    await installed.has_all()


async def test_a_corrupt_model_is_mended_from_a_backup(installed: Installed) -> None:
    await installed.shell("loanloop backup")
    await installed.value("UPDATE loan_data.model_metadata SET bundle = substr(bundle, 2) RETURNING version")
    os.kill(installed.run.pids["predictor"], signal.SIGKILL)
    await eventually(
        lambda: installed.value("SELECT count(*) FROM loan_data.alerts WHERE kind = 'model_refused'"),
        within_s=120,
        every_s=1,
    )
    await installed.send_new(20)

    said = await installed.follow("corrupt-model")

    assert "UPDATE 1" in said
    await installed.has_all()


async def test_a_damaged_database_is_restored_beside_its_kafka(installed: Installed) -> None:
    await installed.shell("loanloop backup")
    await installed.send_new(40)
    await installed.has_all()
    data = installed.data / "postgres" / "data"
    os.kill(installed.run.pids["postgres"], signal.SIGKILL)
    (data / "global" / "pg_control").write_bytes(b"damaged")

    said = await installed.follow("database-failure")

    assert "ingest goes on at loan.outcome/0:" in said
    await installed.send_new(20)
    await installed.has_all()


async def test_a_lost_broker_is_replaced_and_what_is_sent_again_is_decided_once(installed: Installed) -> None:
    os.kill(installed.run.pids["kafka"], signal.SIGKILL)
    for log in (installed.data / "kafka" / "data").glob("loan.received-*/*.log"):
        log.write_bytes(b"damaged")

    await installed.follow("broker-loss")

    await installed.send(Topic.LOAN_RECEIVED, [loan.received for loan in installed.sent])
    await installed.send_new(20)
    await installed.has_all()


@pytest.fixture
async def on_a_small_disk(tmp_path: Path) -> AsyncIterator[Installed]:
    """No model: what is to be seen is that nothing acknowledged is lost."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small disk that is filled up here")
    installed = Installed(tmp_path)
    installed.data.mkdir()
    await said_by("mount", "-t", "tmpfs", "-o", "size=1300m", "tmpfs", str(installed.data))
    try:
        await installed.start_up("--portfolio", str(write_tiny_portfolio(tmp_path)))
        yield installed
    finally:
        await installed.end()
        await said_by("umount", str(installed.data))


async def said_by(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0, command


def fill(file: Path) -> None:
    """To the last page."""
    with file.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        for n_bytes in (16 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, n_bytes)


async def test_a_full_disk_loses_nothing_that_was_acknowledged(on_a_small_disk: Installed) -> None:
    installed = on_a_small_disk
    await installed.send(Topic.LOAN_RECEIVED, [loan.history for loan in loans(50)])
    await eventually(lambda: installed.stored(50), within_s=60, every_s=1)
    fill(installed.data / "logs" / "kafka.1.log")
    sending = asyncio.create_task(installed.send_until_taken([loan.history for loan in loans(400, first=50)]))
    await eventually(lambda: installed.logs_say("No space left on device"), within_s=120, every_s=1)

    said = await installed.follow("full-disk")
    await sending

    assert "100%" in said
    await eventually(lambda: installed.stored(450), within_s=120, every_s=1)
