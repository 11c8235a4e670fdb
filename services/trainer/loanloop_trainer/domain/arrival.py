"""Whether labels still come in by the hundred: the first model shall learn from a whole history, not its beginning."""

from dataclasses import dataclass

# A second, of those that are there. So no history that is loaded at a steady rate holds the first training up for
# longer than five minutes.
GROWTH_PER_S = 1 / 300
FEWEST_PER_S = 30  # fewer are a stream's, not a history's


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
        passed_s = at_s - self._counted_at_s
        grows = labels - self._labels > max(GROWTH_PER_S * self._labels, FEWEST_PER_S) * max(passed_s, 1)
        if passed_s < self.over_s:
            self.is_going_on = self.is_going_on or grows
            return
        self.is_going_on = grows
        self._labels, self._counted_at_s = labels, at_s
