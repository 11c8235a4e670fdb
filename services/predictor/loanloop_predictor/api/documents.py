"""The request bodies in OpenAPI, from the portfolio: fields, rules and a valid example."""

from typing import Any

from loanloop_common.loan_codec import LoanCodec


def loan_body(codec: LoanCodec) -> dict[str, Any]:
    return _json_body(_loan_schema(codec), _example(codec))


def loans_body(codec: LoanCodec, *, max_loans: int) -> dict[str, Any]:
    loans = {"type": "array", "items": _loan_schema(codec), "minItems": 1, "maxItems": max_loans}
    schema = {"type": "object", "properties": {"loans": loans}, "required": ["loans"]}
    second = _example(codec) | {"loan_id": "1000014004"}
    return _json_body(schema, {"loans": [_example(codec), second]})


def _example(codec: LoanCodec) -> dict[str, Any]:
    example = codec.example()
    return {"loan_id": example["loan_id"], "features": example["features"]}


def _loan_schema(codec: LoanCodec) -> dict[str, Any]:
    again = "Send the same one when you retry: the loan is decided once and the answer is the same."
    applied = "When the loan was applied for; now, if left out."
    return {
        "type": "object",
        "properties": {
            "loan_id": {"type": "string", "minLength": 1, "maxLength": 64},
            "features": codec.json_schema(),
            "event_id": {"type": "string", "format": "uuid", "description": again},
            "occurred_at": {"type": "string", "format": "date-time", "description": applied},
        },
        "required": ["loan_id", "features"],
    }


def _json_body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}
