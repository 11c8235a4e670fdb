"""Every error that REST answers has one shape: `{"error": {kind, message, field, value, rule}}`."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from loanloop_common.errors import EventConflict, InvalidField, InvalidMessage, LoanloopError, Unavailable
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from loanloop_predictor.api.body import BodyTooLarge
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


def status_of(error: LoanloopError) -> int:
    match error:
        case InvalidMessage():
            return 422
        case EventConflict():
            return 409
        case Unavailable():
            return 503
        case BodyTooLarge():
            return 413
        case _:
            return 500


def detail_of(error: LoanloopError) -> ErrorDetail:
    if isinstance(error, InvalidMessage):
        return _invalid(error)
    match error:
        case EventConflict():
            return ErrorDetail(kind="conflict", message=str(error), field="event_id", value=error.event_id)
        case NoModel():
            return ErrorDetail(kind="no_model", message=str(error))
        case BodyTooLarge():
            return ErrorDetail(kind="too_large", message=str(error))
        case Unavailable():
            return ErrorDetail(kind="unavailable", message=f"{error}; no decision is given, send it again")
        case _:
            return ErrorDetail(kind="fault", message="something failed here; no decision is given")


def _invalid(error: InvalidMessage) -> ErrorDetail:
    if not isinstance(error, InvalidField):
        return ErrorDetail(kind="invalid_message", message=str(error))
    plain = isinstance(error.value, int | float | None)
    value = error.value if plain else str(error.value)[:200]
    return ErrorDetail(kind="invalid_field", message=str(error), field=error.field, value=value, rule=error.rule)


def answer(status: int, detail: ErrorDetail) -> JSONResponse:
    headers = {"Retry-After": "2"} if status == 503 else None
    return JSONResponse(ErrorAnswer(error=detail).model_dump(mode="json"), status_code=status, headers=headers)


def install_error_answers(api: FastAPI) -> None:
    api.add_exception_handler(LoanloopError, _on_loanloop_error)
    api.add_exception_handler(RequestValidationError, _on_validation_error)
    api.add_exception_handler(HTTPException, _on_http_error)
    api.add_exception_handler(Exception, _on_fault)


async def _on_loanloop_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LoanloopError)
    status = status_of(error)
    if status >= 500:
        log.warning("request_not_served", path=request.url.path, error=str(error))
    return answer(status, detail_of(error))


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part != "body")
    return answer(422, detail_of(InvalidField(field, first.get("input"), first["msg"])))


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return answer(error.status_code, ErrorDetail(kind="http", message=f"{request.url.path}: {error.detail}"))


async def _on_fault(request: Request, error: Exception) -> JSONResponse:
    log.error("request_failed", path=request.url.path, exc_info=error)
    return answer(500, ErrorDetail(kind="fault", message="something failed here; no decision is given"))
