"""A batch of loans: each is read by itself, so that one that needs a closer look makes no other slower."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from loanloop_common.errors import InvalidField, InvalidMessage

from loanloop_predictor.api.body import NotJson, parsed
from loanloop_predictor.domain.incoming import IncomingLoan
from loanloop_predictor.domain.plain_requests import loans_apart

Read = IncomingLoan | InvalidMessage
Form = TypeVar("Form")


def read_batch(
    body: bytes,
    *,
    from_bytes: Callable[[bytes], IncomingLoan],
    from_json: Callable[[Any], IncomingLoan],
    max_loans: int,
) -> list[Read]:
    """In each loan's place the loan or why it is refused; both functions raise InvalidMessage for one loan.

    Raises InvalidMessage where there is no batch.
    """
    apart = loans_apart(body)
    if apart and len(apart) <= max_loans:
        try:
            return _read_each(apart, from_bytes)
        except NotJson:
            pass  # what is wrong, and where, is told of the whole body
    content, _ = parsed(body)
    return _read_each(_loans_in(content, max_loans), from_json)


def _read_each(loans: Iterable[Form], read: Callable[[Form], IncomingLoan]) -> list[Read]:
    return [_read_one(loan, read) for loan in loans]


def _read_one(loan: Form, read: Callable[[Form], IncomingLoan]) -> Read:
    try:
        return read(loan)
    except NotJson:
        raise
    except InvalidMessage as invalid:
        return invalid


def _loans_in(content: Any, max_loans: int) -> list[Any]:
    loans = content.get("loans") if isinstance(content, dict) else content
    if not isinstance(loans, list) or not loans:
        raise InvalidMessage('the body must be {"loans": [...]} with at least one loan')
    if len(loans) > max_loans:
        raise InvalidField("loans", f"{len(loans)} loans", f"must be at most {max_loans}")
    return loans
