"""The scripts in the data folder are Kafka's and PostgreSQL's own tools, and a loan sent with them is a valid one."""

import asyncio
from asyncio.subprocess import PIPE
from typing import cast

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from loanloop.runtime.first_steps import first_steps
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.tools import write_tools
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio

from tests.support.infrastructure import Backend

pytestmark = pytest.mark.embedded


async def shell(line: str) -> bytes:
    process = await asyncio.create_subprocess_shell(line, stdout=PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, line
    return output


async def make_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    await admin.close()


async def test_the_producer_line_sends_a_valid_loan(infrastructure: Backend, topic_prefix: str) -> None:
    portfolio = load_portfolio("sba")
    tools = write_tools(cast("EmbeddedInfrastructure", infrastructure))
    topic = f"{topic_prefix}loan.received"
    await make_topic(infrastructure.kafka_bootstrap, topic)
    steps = first_steps(portfolio, tools=tools, rest_url=infrastructure.rest_url)

    await shell(steps.produce.replace("--topic loan.received", f"--topic {topic}"))
    received = await shell(f"{tools}/kafka-console-consumer --topic {topic} --from-beginning --max-messages 1")

    assert LoanCodec(portfolio).decode(received.strip()).loan_id.startswith("example-")


async def test_psql_reaches_the_database_and_holds_no_password(infrastructure: Backend) -> None:
    tools = write_tools(cast("EmbeddedInfrastructure", infrastructure))

    assert (await shell(f"{tools}/psql -tAc 'SELECT 42'")).strip() == b"42"

    password = infrastructure.postgres_dsn.split(":")[2].split("@")[0]
    assert password.encode() not in await shell(f"cat {tools}/psql")
