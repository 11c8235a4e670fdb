"""Rows of a loan file as events. Event ids follow from the content, so reading a file again repeats no event."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import msgspec
from loanloop_common.errors import InvalidField, InvalidMessage
from loanloop_common.events import Topic
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Portfolio
from loanloop_common.wire_rules import is_of_known_year, refuse_future

from loanloop_ingest.domain.cells import feature_value, flag, instant, is_missing, text
from loanloop_ingest.domain.outcome_codec import OutcomeCodec

_NAMESPACE = UUID("6f7c0f0a-3c0c-5b8e-9a35-0d5d9f0d7c11")
_ID_RULE = "must be text or a whole number (1234.0 and 1234 would be two loans)"
_EMPTY_RULE = "; with nullable = true in the portfolio an empty cell is a value"
_DATE_RULE = "must be a date of the years 1900 to 9998 such as 2005-05-20, or a date and time"

Row = Mapping[str, Any]


class FileEvent(NamedTuple):
    """An event as it goes onto Kafka. `due_at` is when it happened: the application, or the outcome known.

    `defaulted` is what it says of the loan's end, None if nothing.
    """

    topic: Topic
    key: bytes
    value: bytes
    due_at: datetime
    defaulted: bool | None = None


class RefusedRow(NamedTuple):
    """A row that makes no event, and why. `number` counts the rows of the file from 1, the header left out.

    `value` is empty where the cell is, or where no field is to blame.
    """

    number: int
    field: str | None
    value: str
    rule: str
    row: Row | None = None  # what of it can be kept, where the reader of the file refused it

    @property
    def in_words(self) -> str:
        if self.field is None:
            return self.rule
        return f"{self.field} {f'= {self.value}' if self.value else 'is empty'}: {self.rule}"


Refuse = Callable[[RefusedRow], None]


class FileMappingMissing(InvalidMessage):
    """The file lacks a column that the portfolio's [file] section or its features name, or that section a key."""


class RowReader:
    """Makes events of rows, by the portfolio's [file] section. Thread-safe."""

    def __init__(self, portfolio: Portfolio) -> None:
        self._file = portfolio.file
        self._name = portfolio.name
        self._codec = LoanCodec(portfolio)
        self._outcomes = OutcomeCodec()
        self._features = tuple(portfolio.features.values())
        # An empty cell says null where the portfolio allows null, else that the field is absent, if that is allowed.
        self._absent_if_empty = {f.name for f in self._features if not f.required and not f.nullable}
        self._never_empty = tuple(f for f in self._features if f.required and not f.nullable)
        self._json = msgspec.json.Encoder(order="sorted")

    def check_columns(self, columns: Sequence[str], *, outcomes: bool = False) -> None:
        """Raises FileMappingMissing, naming every column that is not there; with `outcomes`, those of outcomes too."""
        if outcomes and self._file.defaulted is not None:
            self._check_dates_of_outcomes()
        wanted = [self._file.loan_id, self._file.occurred_at]
        if outcomes and self._file.defaulted is not None:
            named = (self._file.defaulted, self._file.outcome_known_at)
            wanted += [column for column in named if column is not None]
        wanted += [feature.name for feature in self._features if feature.required]
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise FileMappingMissing(
                f"the file has no column {', '.join(missing)}; the portfolio {self._name} names it in [file] or as a "
                f"feature (the file's columns: {', '.join(columns)})"
            )

    def _check_dates_of_outcomes(self) -> None:
        if self._file.outcome_known_at is None and self._file.outcome_delay_days is None:
            raise FileMappingMissing(
                f"[file] of the portfolio {self._name} names defaulted and not when an outcome became known; add "
                "outcome_known_at, the column with that date, or outcome_delay_days, which are counted from occurred_at"
            )

    def loan(self, row: Row, *, history: bool, now: datetime) -> FileEvent:
        """The row's loan.received; with `history` it carries its outcome, if that is known by now.

        Raises InvalidMessage, most often InvalidField.
        """
        occurred_at = self._occurred_at(row, now)
        outcome = self._outcome(row, occurred_at, now) if history else None
        payload = {
            "occurred_at": occurred_at,
            "schema_version": 1,
            "loan_id": self._loan_id(row),
            "features": self._feature_values(row),
        }
        if outcome is not None:
            payload["outcome"] = {"defaulted": outcome[0], "known_at": outcome[1]}
        event = self._event(Topic.LOAN_RECEIVED, payload, occurred_at)
        self._codec.decode(event.value)
        return event if outcome is None else event._replace(defaulted=outcome[0])

    def outcome(self, row: Row, *, now: datetime) -> FileEvent | None:
        """The row's loan.outcome; None where there is none, or not by now. Raises InvalidMessage."""
        outcome = self._outcome(row, self._occurred_at(row, now), now)
        if outcome is None:
            return None
        defaulted, known_at = outcome
        payload = {
            "occurred_at": known_at,
            "schema_version": 1,
            "loan_id": self._loan_id(row),
            "defaulted": defaulted,
            "known_at": known_at,
        }
        event = self._event(Topic.LOAN_OUTCOME, payload, known_at)
        self._outcomes.decode(event.value)
        return event._replace(defaulted=defaulted)

    def occurred_at(self, row: Row) -> datetime | None:
        """When the loan was applied for; None where the row has no such date."""
        value = row.get(self._file.occurred_at)
        return None if value is None else instant(value)

    def _feature_values(self, row: Row) -> dict[str, Any]:
        values = {f.name: feature_value(f, row[f.name]) for f in self._features if f.name in row}
        for feature in self._never_empty:
            if values.get(feature.name, feature) is None:
                raise InvalidField(f"features.{feature.name}", None, feature.rule() + _EMPTY_RULE)
        return {name: value for name, value in values.items() if value is not None or name not in self._absent_if_empty}

    def _loan_id(self, row: Row) -> str:
        column = self._file.loan_id
        value = text(column, row.get(column))
        if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
            value = int(value)
        if isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
        raise InvalidField(column, value, _ID_RULE)

    def _occurred_at(self, row: Row, now: datetime) -> datetime:
        column = self._file.occurred_at
        occurred_at = self.occurred_at(row)
        if occurred_at is None or not is_of_known_year(occurred_at):
            raise InvalidField(column, row.get(column), _DATE_RULE)
        refuse_future(column, occurred_at, now)
        return occurred_at

    def _outcome(self, row: Row, occurred_at: datetime, now: datetime) -> tuple[bool, datetime] | None:
        if self._file.defaulted is None or is_missing(row.get(self._file.defaulted)):
            return None
        defaulted = flag(row[self._file.defaulted])
        if not isinstance(defaulted, bool):
            raise InvalidField(self._file.defaulted, defaulted, "must be true or false")
        known_at = self._known_at(row, occurred_at)
        return (defaulted, known_at) if known_at <= now else None

    def _known_at(self, row: Row, occurred_at: datetime) -> datetime:
        column = self._file.outcome_known_at
        if column is not None and not is_missing(row.get(column)):
            known_at = instant(row[column])
            if known_at is None:
                raise InvalidField(column, row[column], _DATE_RULE)
            return known_at
        if self._file.outcome_delay_days is None:
            raise InvalidField(
                column or "outcome_known_at", None, "a row with an outcome needs the date when it became known"
            )
        try:
            return occurred_at + timedelta(days=self._file.outcome_delay_days)
        except OverflowError as overflow:
            raise InvalidField(self._file.occurred_at, row.get(self._file.occurred_at), _DATE_RULE) from overflow

    def _event(self, topic: Topic, payload: dict[str, Any], due_at: datetime) -> FileEvent:
        try:
            content = self._json.encode(payload)
        except (UnicodeEncodeError, TypeError) as unfit:
            raise InvalidMessage(f"the row can't be written as JSON: {unfit}") from unfit
        event_id = uuid5(_NAMESPACE, f"{self._name}\n{topic}\n{content.decode()}")
        value = b'{"event_id":"%b",%b' % (str(event_id).encode(), content[1:])
        return FileEvent(topic, str(payload["loan_id"]).encode(), value, due_at)


def loan_events(
    rows: Iterable[Row | RefusedRow | None],
    reader: RowReader,
    *,
    now: datetime,
    refuse: Refuse,
    history: bool = False,
    first: int = 1,
) -> Iterator[FileEvent]:
    """The loan.received of each row; `refuse` hears of the rows that make none. `first` numbers the first row.

    None stands for a blank line: it makes nothing and keeps its number.
    """
    for number, row in enumerate(rows, start=first):
        if row is None:
            continue
        if isinstance(row, RefusedRow):
            refuse(row)
            continue
        try:
            event = reader.loan(row, history=history, now=now)
        except InvalidMessage as refused:
            refuse(refused_row(number, refused))
            continue
        yield event


def refused_row(number: int, refused: InvalidMessage) -> RefusedRow:
    if isinstance(refused, InvalidField):
        value = "" if refused.value is None else repr(refused.value)[:120]
        return RefusedRow(number, refused.field, value, refused.rule)
    return RefusedRow(number, None, "", str(refused))
