"""Cells of a loan file as values of an event. What is no such value goes as it is, and is refused by name."""

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from loanloop_common.errors import InvalidField
from loanloop_common.portfolio import Feature

_TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "0.0"})
# Python reads more as a number than a file means by one: 1_000, digits of other scripts. Digits once taken are kept
# (++, *+): a long cell that is no number in the end would else be tried in as many ways as it has digits.
_NUMBER = re.compile(r"\s*+[+-]?(\d++(\.\d*+)?|\.\d++)([eE][+-]?\d++)?\s*+", re.ASCII)
_WITH_COMMAS = re.compile(r"\s*[+-]?[\d.]*,[\d.,]*\s*", re.ASCII)
_COMMA_RULE = ", with a point before decimals and nothing between thousands, such as 1234.5"
UTF8_RULE = "is not UTF-8 text; save the file as UTF-8"


def is_missing(value: Any) -> bool:
    """Pandas writes NaN for a missing number or flag."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def instant(value: Any) -> datetime | None:
    """A date counts as 00:00 UTC, a time without a zone as UTC; None for what is neither."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return None


def feature_value(feature: Feature, value: Any) -> Any:
    """The cell as JSON of the feature's kind. Raises InvalidField where the codec could not say what to write."""
    if is_missing(value):
        return None
    if feature.kind == "flag":
        value = flag(value)
    elif feature.kind == "number":
        value = _number(value, feature)
    elif isinstance(value, date):
        return value.isoformat()
    return text(f"features.{feature.name}", value)


def flag(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, Decimal) and value in {0, 1}:
        return bool(value)
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    return False if word in _FALSE else value


def text(field: str, value: Any) -> Any:
    """Parquet's binary columns hold text. Raises InvalidField where text, or bytes, are not UTF-8."""
    if isinstance(value, bytes):
        value = value.decode(errors="surrogateescape")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as not_utf8:
            raise InvalidField(field, value, UTF8_RULE) from not_utf8
    return value


def _number(value: Any, feature: Feature) -> Any:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        if _WITH_COMMAS.fullmatch(value):
            raise InvalidField(f"features.{feature.name}", value, feature.rule() + _COMMA_RULE)
        return value
    if isinstance(value, str | Decimal):
        try:
            value = float(value) if "." in str(value) or not feature.integer else int(value)
        except ValueError:
            return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity: it would pass for null
    if isinstance(value, float) and feature.integer and value.is_integer():
        return int(value)
    return value
