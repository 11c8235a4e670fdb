"""The predictor's REST with a decider that holds its decisions in memory."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

from loanloop_common.errors import EventConflict, Unavailable
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_predictor.api import Admission, Api, TimeLimit
from loanloop_predictor.domain.deciding import DecidedBy, decide
from loanloop_predictor.domain.decisions import StoredDecision
from loanloop_predictor.domain.deployments import Deployment
from loanloop_predictor.domain.incoming import IncomingLoan
from loanloop_predictor.domain.plain_requests import PlainRequests
from loanloop_predictor.serving.champions import Champions
from loanloop_predictor.serving.decider import Answer

PORTFOLIO = load_portfolio("sba")
CODEC = LoanCodec(PORTFOLIO)
MAX_BYTES, MAX_LOAN_BYTES, MAX_BYTES_AT_ONCE, MAX_LOANS, MAX_REQUESTS = 20_000, 15_000, 30_000, 40, 3


class FakeDecider:
    def __init__(self) -> None:
        self.stored: dict[UUID, tuple[bytes, StoredDecision]] = {}
        self.away = False
        self.n_asked = 0
        self.traceparents: list[str | None] = []
        self.requested_by: list[str | None] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, incoming: Sequence[IncomingLoan]) -> Sequence[Answer]:
        self.n_asked += 1
        self.traceparents += [one.traceparent for one in incoming]
        self.requested_by += [one.requested_by for one in incoming]
        await self.may_answer.wait()
        if self.away:
            raise Unavailable("PostgreSQL does not answer")
        return [self._answer(one) for one in incoming]

    def _answer(self, one: IncomingLoan) -> Answer:
        by = DecidedBy("v1", 1, 0.5, "fake")
        (made,) = decide(CODEC, [one], [0.25], by, decision_ids=[uuid4()], latency_ms=1.0, channel="rest")
        new = StoredDecision(made, datetime.now(UTC), is_new=True)
        sha256, stored = self.stored.setdefault(made.event_id, (made.payload_sha256, new))
        return stored if sha256 == made.payload_sha256 else EventConflict(str(made.event_id))


class NothingDeployed:
    async def fetch_deployments(self, slot: str, *, limit: int = 10) -> list[Deployment]:
        return []


def api_in_memory(decider: FakeDecider) -> Api:
    return Api(
        codec=CODEC,
        plain=PlainRequests(CODEC),
        champions=Champions(NothingDeployed(), PORTFOLIO, threads=1),  # type: ignore[arg-type]  # never loads one
        decide=decider,
        stream_state=lambda: "waiting",
        database_state=lambda: "ok",
        reconcile_state=lambda: "looking",
        admission=Admission(max_requests=MAX_REQUESTS, max_bytes=MAX_BYTES_AT_ONCE),
        max_batch_loans=MAX_LOANS,
        max_body_bytes=MAX_BYTES,
        max_loan_bytes=MAX_LOAN_BYTES,
        body_within=TimeLimit(0.2),
    )
