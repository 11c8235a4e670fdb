"""Whether labels still come in by the hundred: the first model shall learn from a whole history, not its beginning."""

from dataclasses import dataclass

# In `over_s`, of those that were there. At a steady rate that is over once 100 times as many are there, so with a look
# every three seconds no history that is loaded holds the first training up for longer than five minutes.
GROWTH = 0.01
FEWEST = 100  # fewer are a stream's, not a history's


@dataclass
class Arrival:
    """Labels as they are counted at one look after another; a look may come sooner than `over_s` after the last."""

    over_s: float
    is_going_on: bool = False
    _labels: int = 0
    _counted_at_s: float | None = None

    def note(self, labels: int, at_s: float) -> None:
        """With nothing to compare to nothing is said to arrive."""
        if self._counted_at_s is None:
            self._labels, self._counted_at_s = labels, at_s
            return
        grows = labels - self._labels > max(GROWTH * self._labels, FEWEST)
        if at_s - self._counted_at_s < self.over_s:
            self.is_going_on = self.is_going_on or grows
            return
        self.is_going_on = grows
        self._labels, self._counted_at_s = labels, at_s
