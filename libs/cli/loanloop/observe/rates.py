"""Messages a second of each group in each topic, from successive snapshots."""

from collections import deque

from loanloop.observe.snapshot import Lag, Snapshot

WINDOW = 5


class Rates:
    """The mean over the last WINDOW snapshots; 0 until there are two."""

    def __init__(self) -> None:
        self._seen: deque[Snapshot] = deque(maxlen=WINDOW)

    def add(self, snapshot: Snapshot) -> None:
        self._seen.append(snapshot)

    def of(self, lag: Lag) -> float:
        points = [(shot.taken_at, n) for shot in self._seen if (n := _committed(shot, lag)) is not None]
        if len(points) < 2:
            return 0.0
        (first_at, first), (last_at, last) = points[0], points[-1]
        seconds = (last_at - first_at).total_seconds()
        return max(last - first, 0) / seconds if seconds > 0 else 0.0


def _committed(snapshot: Snapshot, wanted: Lag) -> int | None:
    found = (lag.committed for lag in snapshot.lags if (lag.topic, lag.group) == (wanted.topic, wanted.group))
    return next(found, None)
