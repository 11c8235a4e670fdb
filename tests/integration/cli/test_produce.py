"""`loanloop produce` to a real Kafka: stopped, and gone on with."""

import asyncio
import json
import signal
from asyncio.subprocess import PIPE
from pathlib import Path

from loanloop_common.events import Topic
from loanloop_common.installation import check_installation
from loanloop_common.kafka import create_topics
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import create_pool

from tests.integration.cli.world import LOANLOOP, NO_ENVIRONMENT, WIDE, loanloop, says_in_one_sentence
from tests.support.eventually import eventually
from tests.support.infrastructure import delete_topics
from tests.support.topics import read_all

LOANS = Path(__file__).parents[3] / "portfolios" / "sba" / "loans.parquet"
N_LOANS = 1200


def command(kafka: str, *more: str) -> list[str]:
    return [
        "produce",
        str(LOANS),
        "--limit",
        str(N_LOANS),
        "--outcomes",
        "none",
        "--portfolio",
        "sba",
        "--kafka",
        kafka,
        *more,
    ]


async def ids_sent(kafka: str) -> list[str]:
    return [json.loads(record.value)["event_id"] for record in await read_all(kafka, Topic.LOAN_RECEIVED)]


async def stopped_in_the_middle(kafka: str, data_dir: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        LOANLOOP, *command(kafka, "--rate", "200"), "--data-dir", str(data_dir),
        env=NO_ENVIRONMENT | WIDE, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip

    async def has_begun() -> bool:
        return len(await ids_sent(kafka)) > 100

    await eventually(has_begun, within_s=60)
    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()
    assert process.returncode == 130
    assert b"Stopped at row" in out


async def test_what_was_stopped_goes_on_where_it_was(topics: str, tmp_path: Path) -> None:
    await stopped_in_the_middle(topics, tmp_path)

    answer = await loanloop(*command(topics), data_dir=tmp_path)

    assert answer.code == 0, answer.err
    assert "Going on behind" in answer.err
    sent = await ids_sent(topics)
    assert len(sent) == len(set(sent)) == N_LOANS


async def test_into_topics_that_were_made_anew_all_is_sent(topics: str, tmp_path: Path) -> None:
    await stopped_in_the_middle(topics, tmp_path)
    await delete_topics(topics)
    await create_topics(topics)

    answer = await loanloop(*command(topics), data_dir=tmp_path)

    assert answer.code == 0, answer.err
    assert "Going on behind" not in answer.err
    assert len(await ids_sent(topics)) == N_LOANS


async def test_loans_of_another_portfolio_than_the_installations_are_not_sent(
    topics: str, database: str, tmp_path: Path
) -> None:
    pool = await create_pool(database, application_name="test")
    await check_installation(pool, load_portfolio("sba"))
    await pool.close()
    settings = {"LOANLOOP_POSTGRES__DSN": database, "LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": topics}

    answer = await loanloop(
        "produce", str(LOANS), "--limit", "10", "--portfolio", "sba_application", data_dir=tmp_path, **settings
    )

    says_in_one_sentence(
        answer, "the database serves portfolio 'sba'", "described by 'sba_application'", "LOANLOOP_PORTFOLIO=sba,"
    )
    assert await ids_sent(topics) == []
    answer = await loanloop("produce", str(LOANS), "--limit", "10", "--portfolio", "sba", data_dir=tmp_path, **settings)
    assert answer.code == 0, answer.err
