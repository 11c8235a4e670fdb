"""What has become of the messages on loan.received, and of their loans, in figures."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoanCounts:
    """Every message on loan.received ends as stored, rejected or duplicate; each stored event without an outcome is
    decided.

    `removed`: those that Kafka removed before ingest read them, which an alert tells of.

    `n_loans` are those that the stored events tell of: one that is sent again under a new event_id is stored twice and
    counted here once. `history` are those of them whose first event came with an outcome. `mature` are those of
    `labelled` that are old enough by the event-time clock to count, for a training as for F1.
    """

    received: int | None  # messages ever written to the topic; None while Kafka does not answer
    stored: int
    rejected: int
    duplicates: int
    removed: int
    n_loans: int
    history: int
    scored: int
    decided: int
    labelled: int
    mature: int
    waiting_outcomes: int

    @property
    def told_again(self) -> int:
        """Stored events beyond the first of their loan."""
        return max(self.stored - self.n_loans, 0)

    @property
    def is_beyond_received(self) -> bool:
        """More has come than this Kafka has had: of another, before a restore, or of a topic that was made anew."""
        came = self.stored + self.rejected + self.duplicates + self.removed
        return self.received is not None and came > self.received
