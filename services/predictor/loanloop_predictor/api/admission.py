"""Sheds load: more requests than can be answered soon are turned away at once, before their body is read."""

from loanloop_common.errors import Unavailable


class Overloaded(Unavailable):
    """So many requests wait for their decision that one more would wait too long."""


class Admission:
    """`with admission:` around each request."""

    def __init__(self, *, max_requests: int) -> None:
        self._max_requests = max_requests
        self._n_admitted = 0

    @property
    def n_admitted(self) -> int:
        return self._n_admitted

    def __enter__(self) -> None:
        """Raises Overloaded."""
        if self._n_admitted >= self._max_requests:
            raise Overloaded(f"{self._n_admitted} requests wait for their decision already")
        self._n_admitted += 1

    def __exit__(self, *_: object) -> None:
        self._n_admitted -= 1
