"""The request bodies in OpenAPI, from the portfolio: fields, rules and a valid example."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.trace_context import HEADER
from loanloop_common.wire_rules import NO_NUL

from loanloop_predictor.api.access import Access
from loanloop_predictor.api.errors import ErrorAnswer
from loanloop_predictor.domain.access import Role, role_needed

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a token of the identity provider"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_TRACEPARENT = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "W3C trace context: the loan's events carry it on. What is none is passed over",
}
_REFUSALS = {
    "401": "Nobody that is known here was named",
    "403": "The key's role is not enough",
    "429": "More requests than this key's share; `Retry-After` says when to go on",
}


def loan_body(codec: LoanCodec) -> dict[str, Any]:
    return _json_body(_loan_schema(codec), _example(codec))


def loans_body(codec: LoanCodec, *, max_loans: int) -> dict[str, Any]:
    anything = {"description": "What is no loan is refused in its place, and fails no other"}
    loans = {
        "type": "array",
        "items": {"anyOf": [_loan_schema(codec), anything]},
        "minItems": 1,
        "maxItems": max_loans,
    }
    schema = {"anyOf": [{"type": "object", "properties": {"loans": loans}, "required": ["loans"]}, loans]}
    second = _example(codec) | {"loan_id": "1000014004"}
    return _json_body(schema, {"loans": [_example(codec), second]})


def say_who_may(app: FastAPI, access: Access) -> None:
    """Adds to the document how to sign in, each route's role, and how one is turned away."""
    document = app.openapi()
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    error = {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}
    turned_away = {
        status: {"description": why, "content": {"application/json": {"schema": error}}}
        for status, why in _REFUSALS.items()
    }
    for operation, role in _operations(document, access):
        operation["security"] = [{scheme: []} for scheme in _SCHEMES]
        operation["description"] = f"{operation.get('description', '')}\n\nRole: {role}.".strip()
        operation["responses"] |= turned_away


def _operations(document: dict[str, Any], access: Access) -> Iterator[tuple[dict[str, Any], Role]]:
    """Those that are not open."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if role := role_needed(method.upper(), path, is_metrics_open=access.is_metrics_open):
                yield operation, role


def _example(codec: LoanCodec) -> dict[str, Any]:
    example = codec.example()
    return {"loan_id": example["loan_id"], "features": example["features"]}


def _loan_schema(codec: LoanCodec) -> dict[str, Any]:
    again = "Send the same one when you retry: the loan is decided once and the answer is the same."
    applied = "When the loan was applied for; now, if left out."
    return {
        "type": "object",
        "properties": {
            "loan_id": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": NO_NUL},
            "features": codec.json_schema(),
            "event_id": {"type": ["string", "null"], "format": "uuid", "description": again},
            "occurred_at": {"type": ["string", "null"], "format": "date-time", "description": applied},
            "schema_version": {"enum": [1, None]},
            "outcome": {"type": "null", "description": "A loan whose end is known is not decided"},
        },
        "required": ["loan_id", "features"],
    }


def _json_body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}, "parameters": [_TRACEPARENT]}
