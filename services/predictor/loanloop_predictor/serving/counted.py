"""Decisions counted by what was decided."""

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter

from loanloop_common.telemetry import count

from loanloop_predictor.domain.decisions import CHANNELS, CREDIT_DECISIONS, Decision

_decided = attrgetter("decision")


def count_decisions(new: Sequence[Decision]) -> None:
    """Those of one batch, which are of one channel and one version."""
    for decision, n in Counter(map(_decided, new)).items():
        count("loanloop_decisions_total", n, channel=new[0].channel, decision=decision, version=new[0].version)


def begin_counting(version: str) -> None:
    """The series of a version are there before its first decision, which is then seen as an increase."""
    for channel in CHANNELS:
        for decision in CREDIT_DECISIONS:
            count("loanloop_decisions_total", 0, channel=channel, decision=decision, version=version)
