"""`loanloop tune` on real loans of a real database: killed, gone on with, and used by the next training."""

import asyncio
import json
import re
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loanloop_common.bundle import unpack
from loanloop_common.installation import check_installation
from loanloop_trainer.store.only_search import SearchUnderWay, only_search

from tests.integration.cli.world import LOANLOOP, NO_ENVIRONMENT, WIDE, Answer, loanloop, running_on
from tests.integration.trainer.world import TrainerWorld
from tests.support.eventually import eventually
from tests.support.tiny_portfolio import make_loans

TRIALS = 3
TUNED_WITHIN_S = 200

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def data_dir(world: TrainerWorld, tmp_path: Path) -> AsyncIterator[Path]:
    """Of an installation that serves the tiny portfolio, with 2000 labelled loans."""
    await world.label(2000)
    await check_installation(world.pool, world.portfolio)
    folder = tmp_path / "installation"
    folder.mkdir()
    async with running_on(folder, kafka="127.0.0.1:1", dsn=world.dsn, portfolio=str(world.portfolio_file)) as running:
        yield running


async def tune(data_dir: Path, *more: str) -> Answer:
    return await loanloop("tune", "--trials", str(TRIALS), "--threads", "1", *more, data_dir=data_dir)


async def start_tuning(data_dir: Path, *more: str) -> Process:
    arguments = ("tune", "--trials", str(TRIALS), "--threads", "1", *more, "--data-dir", str(data_dir))
    env = NO_ENVIRONMENT | WIDE | {"PYTHONFAULTHANDLER": "1"}
    return await asyncio.create_subprocess_exec(LOANLOOP, *arguments, env=env, stdout=PIPE, stderr=PIPE)


async def said_until_it_ended(search: Process) -> str:
    """What went to stderr; of one that does not end, where each of its threads was."""
    ending = asyncio.create_task(search.communicate())
    ended, _ = await asyncio.wait({ending}, timeout=60)
    if not ended:
        search.send_signal(signal.SIGABRT)
        pytest.fail(f"it goes on:\n{(await ending)[1].decode()}")
    return (await ending)[1].decode()


async def trials_of(world: TrainerWorld, tuning_id: int) -> list[Any]:
    rows = await world.pool.fetch(
        "SELECT number, state, hyperparameters, scores FROM loan_data.tuning_trials WHERE tuning_id = $1 "
        "ORDER BY number",
        tuning_id,
    )
    return [dict(row) for row in rows]


async def test_killed_search_goes_on_as_if_nothing_had_been(world: TrainerWorld, data_dir: Path) -> None:
    await world.take_outcomes(each=10)
    killed = await start_tuning(data_dir)
    await eventually(lambda: trials_of(world, 1), within_s=TUNED_WITHIN_S)
    killed.kill()
    await killed.wait()
    n_kept = len(await trials_of(world, 1))

    resumed = await tune(data_dir, "--json")
    undisturbed = await tune(data_dir)

    assert resumed.code == 0, resumed.err
    n_loans = await world.pool.fetchval("SELECT n_rows FROM loan_data.tunings WHERE tuning_id = 1")
    assert f"Reading {n_loans:,} labelled loans of the database" in resumed.err
    assert re.search(
        rf"Tuning 1 goes on after {n_kept} trials: {n_loans:,} loans .* beside 1\d\d without an", resumed.err
    )
    assert "Tuning 2 begins" in undisturbed.err
    assert 0 < n_kept < TRIALS
    assert await trials_of(world, 1) == await trials_of(world, 2)
    answer = json.loads(resumed.out)
    assert (answer["tuning"], len(answer["trials"])) == (1, TRIALS)
    assert answer["best"]["roc_auc"] == max(max(trial["roc_auc"]) for trial in answer["trials"])


async def test_ctrl_c_ends_a_search_soon_and_keeps_its_trials(world: TrainerWorld, data_dir: Path) -> None:
    search = await start_tuning(data_dir, "--new", "--trials", "100")  # three could be over before the signal
    await eventually(lambda: trials_of(world, 1), within_s=TUNED_WITHIN_S)

    search.send_signal(signal.SIGINT)
    err = await said_until_it_ended(search)

    assert search.returncode == 130
    assert "which are kept: the same command without --new goes on" in err
    assert await world.pool.fetchval("SELECT finished_at FROM loan_data.tunings") is None
    assert await trials_of(world, 1)


async def test_next_training_uses_what_was_found_and_says_so(world: TrainerWorld, data_dir: Path) -> None:
    best = {"learning_rate": 0.02, "epochs": 3, "batch_size": 64, "d_model": 4}
    await tune(data_dir)
    await world.pool.execute("UPDATE loan_data.tunings SET best = $1", best)  # other values than the file's, surely

    async with world.training():
        run = await eventually(world.succeeded, within_s=TUNED_WITHIN_S)

    used = world.portfolio.model.model_dump(mode="json") | best
    manifest = unpack(await world.pool.fetchval("SELECT bundle FROM loan_data.model_metadata")).manifest
    assert (run["hyperparameters"], run["hyperparameters_from"]) == (used, "tuning 1")
    assert (manifest.hyperparameters, manifest.hyperparameters_from) == (used, "tuning 1")


async def test_forgotten_result_and_one_of_other_features_are_not_used(world: TrainerWorld, data_dir: Path) -> None:
    await tune(data_dir)
    await world.pool.execute("UPDATE loan_data.tunings SET best = best || '{\"epochs\": 3}', schema_hash = 'others'")
    await world.train_by_hand()
    other_features = await world.newest_run()
    await world.judge("v1", passed=False)
    await world.pool.execute("UPDATE loan_data.tunings SET schema_hash = $1", world.portfolio.schema_hash)

    forgotten = await loanloop("tune", "--forget", data_dir=data_dir)
    await world.train_by_hand()

    assert forgotten.code == 0, forgotten.err
    after = await world.newest_run()
    assert other_features["hyperparameters_from"] == "portfolio file (tuning 1 is of other features)"
    assert after["hyperparameters_from"] == "portfolio file"
    own = world.portfolio.model.model_dump(mode="json")
    assert other_features["hyperparameters"] == after["hyperparameters"] == own


async def test_two_searches_do_not_run_side_by_side(world: TrainerWorld, data_dir: Path) -> None:
    async with only_search(world.pool):
        with pytest.raises(SearchUnderWay):
            async with only_search(world.pool):
                pass
        second = await tune(data_dir)

    assert (second.code, second.out) == (1, b"")
    assert "another `loanloop tune` searches on this database already" in second.err


async def test_loans_of_a_file_serve_as_well(world: TrainerWorld, data_dir: Path, tmp_path: Path) -> None:
    rows = [
        {"loan_id": row[0], "occurred_at": row[2], **row[3], "defaulted": row[7], "known_at": row[8]}
        for row in make_loans(2000)
    ]
    for row in rows[::10]:
        row |= {"defaulted": None, "known_at": None}
    file = tmp_path / "loans.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    with world.portfolio_file.open("a") as portfolio:
        portfolio.write('\n[file]\ndefaulted = "defaulted"\noutcome_known_at = "known_at"\n')

    answer = await tune(data_dir, "--loans", str(file), "--json")

    assert answer.code == 0, answer.err
    said = json.loads(answer.out)
    assert said["source"] == "file loans.parquet"
    assert re.search(r"Tuning 1 begins: 1,\d\d\d loans .* beside 1\d\d without an outcome", answer.err)
    n_rows = await world.pool.fetchval("SELECT n_rows FROM loan_data.tunings WHERE source = 'file loans.parquet'")
    assert said["n_loans"] == n_rows
    assert 1000 < n_rows < 2000
