"""How often, and how patiently, a batch is tried again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """No attempt begins later than `within_s` after the first, well below max_poll_interval_ms."""

    attempts: int = 5
    first_delay_s: float = 0.2
    max_delay_s: float = 5.0
    restart_after_s: float = 5.0
    within_s: float = 120.0

    def delay_s(self, attempt: int) -> float:
        """Before the attempt that follows `attempt` (1, 2, …)."""
        return min(self.first_delay_s * 2.0 ** (attempt - 1), self.max_delay_s)
