"""A loan from the future is no loan for the predictor, whenever it reads it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.sampled_lines import FollowedLines
from loanloop_predictor.domain.incoming import StreamedLoans, read_streamed
from loanloop_predictor.handlers import LoanHandler
from loanloop_predictor.serving.decider import ScoredLoans

from tests.support.loans import as_bytes, make_loan
from tests.support.records import make_record

CODEC = LoanCodec(load_portfolio("sba"))
NOW = datetime.now(UTC)


class ReadingDecider:
    """Reads as the real one does and keeps what it has read, without a model."""

    def __init__(self) -> None:
        self.read = StreamedLoans()

    async def score_streamed(self, messages: Sequence[tuple[bytes | None, datetime]], _: object) -> ScoredLoans:
        self.read = read_streamed(CODEC, messages)
        return ScoredLoans(self.read, [])


async def read(*, occurred_at: datetime, arrived_at: datetime | None) -> StreamedLoans:
    decider = ReadingDecider()
    loan = as_bytes(make_loan(1, occurred_at=occurred_at.isoformat()))
    followed = FollowedLines(per_s=0)
    handler = LoanHandler(decider, None, None, followed)  # type: ignore[arg-type]  # nothing is published
    await handler.decide_loans([make_record(loan, arrived_at=arrived_at)])
    return decider.read


@pytest.mark.parametrize("read_after", [timedelta(0), timedelta(days=400)])
async def test_loan_that_was_dated_after_its_arrival_is_not_decided_however_late_it_is_read(
    read_after: timedelta,
) -> None:
    arrived_at = NOW - read_after

    early = await read(occurred_at=arrived_at + timedelta(minutes=6), arrived_at=arrived_at)
    in_time = await read(occurred_at=arrived_at + timedelta(minutes=4), arrived_at=arrived_at)

    assert (early.n_invalid, len(early.to_decide)) == (1, 0)
    assert (in_time.n_invalid, len(in_time.to_decide)) == (0, 1)


async def test_without_the_brokers_clock_the_readers_own_judges() -> None:
    assert (await read(occurred_at=NOW + timedelta(hours=1), arrived_at=None)).n_invalid == 1
    assert len((await read(occurred_at=NOW - timedelta(hours=1), arrived_at=None)).to_decide) == 1
