"""Messages made to cost much: one of a megabyte is refused in about the time that reading it takes."""

import subprocess
import sys

import pytest

WITHIN_S = 30  # a quadratic search takes an hour; starting Python and reading, less than a second
LOANS = """
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
codec = LoanCodec(load_portfolio("sba"))
"""
OUTCOMES = """
from loanloop_ingest.domain.outcome_codec import OutcomeCodec
codec = OutcomeCodec()
"""
DECODE = """
from loanloop_common.errors import InvalidMessage
try:
    codec.decode({message})
except InvalidMessage:
    print("refused")
"""


@pytest.mark.parametrize("codec", [LOANS, OUTCOMES])
@pytest.mark.parametrize(
    "message",
    [
        """b"[" * 101 + b'"' + b'\\\\"' * 500_000""",
        """b'"' + b'{\\\\"a\\\\":1},' * 100_000""",
        """b"[" * 101 + b'"' * 1_000_001""",
        """b"[" * 101 + b'"' + b"\\\\" * 1_000_001""",
        """b"[]" * 500_000""",
    ],
)
def test_a_message_of_a_megabyte_is_refused_soon_whatever_its_texts_hold(codec: str, message: str) -> None:
    """In a process of its own: a search that takes too long holds Python's lock, and no limit in here could end it."""
    program = codec + DECODE.format(message=message)
    ended = subprocess.run(
        [sys.executable, "-c", program], timeout=WITHIN_S, check=False, capture_output=True, text=True
    )
    assert ended.stdout.split() == ["refused"], ended.stderr
