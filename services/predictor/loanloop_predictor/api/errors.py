"""Every error that REST answers has one shape: `{"error": {kind, message, field, value, rule}}`."""

import math
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from loanloop_common.errors import EventConflict, InvalidField, InvalidMessage, LoanloopError, Unavailable
from loanloop_common.trace_context import trace_of_request
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from loanloop_predictor.api.admission import Overloaded
from loanloop_predictor.api.body import BodyTooLarge, BodyTooSlow
from loanloop_predictor.domain.access import Forbidden, TooManyRequests, Unauthenticated
from loanloop_predictor.domain.decisions import DecisionNotKept, NoProbability
from loanloop_predictor.serving.champions import NoModel

log = structlog.get_logger()


class ErrorDetail(BaseModel):
    kind: str
    message: str
    field: str | None = None
    value: Any = None
    rule: str | None = None


class ErrorAnswer(BaseModel):
    error: ErrorDetail


# The first that fits: status, kind, and what the sender may do about it.
_ANSWERS: tuple[tuple[type[LoanloopError], int, str, str], ...] = (
    (InvalidMessage, 422, "invalid_message", ""),
    (EventConflict, 409, "conflict", ""),
    (DecisionNotKept, 410, "not_kept", ""),
    (NoProbability, 500, "no_probability", ""),
    (BodyTooLarge, 413, "too_large", ""),
    (BodyTooSlow, 408, "too_slow", ""),
    (Unauthenticated, 401, "unauthenticated", ""),
    (Forbidden, 403, "forbidden", ""),
    (TooManyRequests, 429, "too_many_requests", ""),
    (NoModel, 503, "no_model", ""),
    (Overloaded, 503, "overloaded", "; no decision is given, send it again later"),
    (Unavailable, 503, "unavailable", "; no decision is given, send it again"),
)
_FAULT = "something failed here; no decision is given"


def status_of(error: LoanloopError) -> int:
    return next((status for kind, status, *_ in _ANSWERS if isinstance(error, kind)), 500)


def detail_of(error: LoanloopError) -> ErrorDetail:
    if isinstance(error, InvalidField):
        return _invalid_field(error)
    for kind, _, name, advice in _ANSWERS:
        if isinstance(error, kind):
            event_id = str(error.event_id) if isinstance(error, EventConflict | DecisionNotKept) else None
            field = "event_id" if event_id else None
            return ErrorDetail(kind=name, message=_sendable(f"{error}{advice}"), field=field, value=event_id)
    return ErrorDetail(kind="fault", message=_FAULT)


def _invalid_field(error: InvalidField) -> ErrorDetail:
    value = error.value
    return ErrorDetail(
        kind="invalid_field",
        message=_sendable(str(error)),
        field=_sendable(error.field),
        value=value if _is_plain(value) else _sendable(_begun(value)),
        rule=error.rule,
    )


def _is_plain(value: Any) -> bool:
    """JSON has it as it is; a number may have thousands of digits, and is then begun like a text."""
    if isinstance(value, int):
        return value.bit_length() <= 64
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _begun(value: Any) -> str:
    try:
        return str(value)[:200]
    except RecursionError:
        return "a value nested too deeply"


def _sendable(text: str) -> str:
    """An answer is UTF-8, whatever was sent."""
    return text.encode(errors="backslashreplace").decode()


def answer(status: int, detail: ErrorDetail) -> JSONResponse:
    headers = {"Retry-After": "2"} if status == 503 else None
    return JSONResponse(ErrorAnswer(error=detail).model_dump(mode="json"), status_code=status, headers=headers)


def install_error_answers(api: FastAPI) -> None:
    api.add_exception_handler(LoanloopError, _on_loanloop_error)
    api.add_exception_handler(RequestValidationError, _on_validation_error)
    api.add_exception_handler(HTTPException, _on_http_error)
    api.add_exception_handler(Exception, _on_fault)


async def error_answer(request: Request, error: Exception) -> JSONResponse:
    """For what an endpoint raises."""
    on_error = _on_loanloop_error if isinstance(error, LoanloopError) else _on_fault
    return await on_error(request, error)


def refusal(request: Request, error: LoanloopError) -> JSONResponse:
    """Of a request that was not let in."""
    refused = answer(status_of(error), detail_of(error))
    if isinstance(error, TooManyRequests):
        refused.headers["Retry-After"] = str(math.ceil(error.wait_s))
    if isinstance(error, Unauthenticated):
        refused.headers["WWW-Authenticate"] = 'Bearer realm="loanloop"'
        if request.method == "GET":  # a browser asks for a password
            refused.headers.append("WWW-Authenticate", 'Basic realm="loanloop", charset="UTF-8"')
    return refused


async def _on_loanloop_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LoanloopError)
    status = status_of(error)
    if status >= 500:
        log.warning(
            "request_not_served", path=request.url.path, error=str(error), **trace_of_request(request.scope["headers"])
        )
    return answer(status, detail_of(error))


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part != "body")
    return answer(422, detail_of(InvalidField(field, first.get("input"), first["msg"])))


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    said = answer(error.status_code, ErrorDetail(kind="http", message=f"{request.url.path}: {error.detail}"))
    said.headers.update(error.headers or {})  # such as which methods there are
    return said


async def _on_fault(request: Request, error: Exception) -> JSONResponse:
    log.error("request_failed", path=request.url.path, exc_info=error, **trace_of_request(request.scope["headers"]))
    return answer(500, ErrorDetail(kind="fault", message=_FAULT))
