"""The demo's accounts at its end: of its own loans, whatever others sent to the same installation meanwhile."""

from typing import Any
from uuid import uuid4

from loanloop.demo.checks import Ledger
from loanloop.demo.queries import fetch_ledger
from loanloop.observe.queries import fetch_loan_counts
from loanloop_common.events import Topic

from tests.integration.ingest.world import Said, World
from tests.support.loans import make_loan
from tests.support.outcomes import make_outcome

OUTCOME = {"defaulted": True, "known_at": "2007-12-20T00:00:00Z"}


async def decide(world: World, loan: dict[str, Any]) -> None:
    decision = uuid4()
    await world.pool.execute(
        "INSERT INTO loan_data.decision_keys (event_id, decision_id, payload_sha256) VALUES ($1, $2, '')",
        loan["event_id"], decision,
    )  # fmt: skip
    await world.pool.execute(
        "INSERT INTO loan_data.predictions (decision_id, event_id, loan_id, occurred_at, features, probability,"
        " threshold, decision, version, deployment_seq, engine, latency_ms, channel)"
        " VALUES ($1, $2, $3, now(), '{}', 0.1, 0.5, 'approve', 'v1', 1, 'engine', 1, 'stream')",
        decision, loan["event_id"], loan["loan_id"],
    )  # fmt: skip


async def test_the_demos_accounts_are_of_its_own_loans_and_count_the_messages_of_others(world: World) -> None:
    own = [make_loan(0, outcome=OUTCOME), *(make_loan(n) for n in (1, 2, 3))]
    others: list[Said] = [make_loan(10, outcome=OUTCOME), make_loan(11), make_loan(11), b"not a loan"]
    again = make_loan(1, event_id=str(uuid4()))
    others += [again, make_loan(1, event_id=str(uuid4()), outcome=OUTCOME)]
    await world.start_ingest()
    await world.produce([*own, *others])
    await world.produce([make_outcome(1), make_outcome(2), make_outcome(12)], Topic.LOAN_OUTCOME)
    await world.consumed(len(own) + len(others))
    await world.consumed(3, Topic.LOAN_OUTCOME)
    for loan in (make_loan(1), make_loan(2), make_loan(11), again):
        await decide(world, loan)

    async with world.pool.acquire() as connection:
        counts = await fetch_loan_counts(connection, received=None, as_of=None)
        ledger = await fetch_ledger(connection, {str(loan["loan_id"]) for loan in own}, scored_published=3)

    assert ledger == Ledger(
        stored=4, history=1, scored=2, decided=2, labelled=3, waiting_outcomes=0, loans_without_decision=1,
        decisions_without_loan=0, history_decided=0, loans_decided_twice=0, loans_without_outcome=1,
        others=6, scored_published=3,
    )  # fmt: skip
    assert (counts.stored, counts.n_loans, counts.history, counts.told_again) == (8, 6, 2, 2)
