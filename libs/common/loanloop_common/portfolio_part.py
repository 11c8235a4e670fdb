"""What each part of a portfolio file has in common, and the limits of its numbers."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

# Beyond these a slip of the hand is likelier than a wish, and dates, counts or memory would overflow.
DAYS = 36_500
LOANS = 1_000_000_000

_UNQUOTED = (int, float, bool, int | None)


class Part(BaseModel):
    """Nothing that it does not know, no text where a number belongs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers_have_no_quotes(cls, given: Any) -> Any:
        for key, value in given.items() if isinstance(given, dict) else ():
            field = cls.model_fields.get(key)
            if isinstance(value, str) and field and field.annotation in _UNQUOTED:
                raise ValueError(f'{key} = "{value}" is text; write it without quotes')
        return given
