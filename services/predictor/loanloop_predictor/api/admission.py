"""Sheds load: more than can be answered soon is turned away at once, before its body is read."""

from collections.abc import Iterator
from contextlib import contextmanager

from loanloop_common.errors import Unavailable


class Overloaded(Unavailable):
    """So much waits for its decision that one more would wait too long, or find no memory."""


class Admission:
    """`with admission:` around each request, and `with admission.room_for(n_bytes):` around one that may be large."""

    def __init__(self, *, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._n_admitted = 0
        self._n_bytes = 0

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

    @contextmanager
    def room_for(self, n_bytes: int) -> Iterator[None]:
        """Raises Overloaded. One is let in however large it is: how large it may be is another's rule."""
        if self._n_bytes and self._n_bytes + n_bytes > self._max_bytes:
            raise Overloaded(
                f"{self._n_bytes:,} bytes of other batches are here already; with {n_bytes:,} that this one may have "
                f"they would be more than {self._max_bytes:,}"
            )
        self._n_bytes += n_bytes
        try:
            yield
        finally:
            self._n_bytes -= n_bytes
