import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from loanloop_common.errors import InvalidField
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import FileMapping
from loanloop_common.portfolio_file import load_portfolio
from loanloop_ingest.domain.file_events import (
    FileMappingMissing,
    RefusedRow,
    Row,
    RowReader,
    loan_events,
)
from loanloop_ingest.domain.outcome_codec import OutcomeCodec

from tests.support.loans import make_features

SBA = load_portfolio("sba")
READER = RowReader(SBA)
NOW = datetime(2010, 1, 1, tzinfo=UTC)


def row(**overrides: Any) -> dict[str, Any]:
    return {"loan_id": "a", "approved_at": date(2005, 5, 20), "defaulted": True} | make_features(1) | overrides


def test_row_becomes_a_valid_loan() -> None:
    event = READER.loan(row(), history=False, now=NOW)
    loan = LoanCodec(SBA).decode(event.value)
    assert (loan.loan_id, loan.occurred_at, loan.outcome) == ("a", datetime(2005, 5, 20, tzinfo=UTC), None)
    assert event.key == b"a"


def test_same_row_makes_the_same_bytes_and_another_makes_another_id() -> None:
    def event_id(**overrides: Any) -> str:
        value: str = json.loads(READER.loan(row(**overrides), history=False, now=NOW).value)["event_id"]
        return value

    assert READER.loan(row(), history=False, now=NOW) == READER.loan(row(), history=False, now=NOW)
    assert event_id() == event_id(disbursed_amount=7.0)  # no feature
    assert len({event_id(), event_id(employees=999), event_id(loan_id="b"), event_id(approved_at="2005-05-21")}) == 4


def test_columns_that_are_no_features_are_not_sent() -> None:
    sent = json.loads(READER.loan(row(charged_off_at=date(2006, 1, 1)), history=False, now=NOW).value)
    assert set(sent["features"]) == set(SBA.features)


def test_history_carries_its_outcome_after_the_files_delay() -> None:
    sent = json.loads(READER.loan(row(), history=True, now=NOW).value)
    assert sent["outcome"] == {"defaulted": True, "known_at": "2005-06-19T00:00:00Z"}


def test_outcome_not_known_yet_is_left_out() -> None:
    young = row(approved_at=date(2009, 12, 20))
    assert "outcome" not in json.loads(READER.loan(young, history=True, now=NOW).value)
    assert READER.outcome(young, now=NOW) is None
    assert READER.outcome(row(defaulted=None), now=NOW) is None


def test_outcome_is_one_that_ingest_takes() -> None:
    event = READER.outcome(row(), now=NOW)
    assert event is not None
    outcome = OutcomeCodec().decode(event.value)
    assert (outcome.loan_id, outcome.defaulted, outcome.known_at) == ("a", True, datetime(2005, 6, 19, tzinfo=UTC))


def test_text_of_a_csv_becomes_what_the_features_say() -> None:
    texts = {name: None if value is None else str(value) for name, value in row().items()}
    from_text, typed = (READER.loan(r, history=True, now=NOW) for r in (texts, row()))
    assert from_text == typed


def test_empty_cell_of_a_field_that_may_be_absent_is_left_out() -> None:
    sent = json.loads(READER.loan(row(term_months=None, state=None), history=False, now=NOW).value)
    assert "term_months" not in sent["features"]
    assert sent["features"]["state"] is None


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"approved_at": "20.5.2005"}, "approved_at"),
        ({"approved_at": None}, "approved_at"),
        ({"employees": "many"}, "features.employees"),
        ({"employees": 1.5}, "features.employees"),
        ({"employees": "1_000"}, "features.employees"),
        ({"employees": "\uff11\uff12"}, "features.employees"),
        ({"approved_amount": "1_000.5"}, "features.approved_amount"),
        ({"approved_at": "1899-12-31"}, "approved_at"),
        ({"defaulted": 0.5}, "defaulted"),
        ({"loan_id": Decimal("1.5")}, "loan_id"),
        ({"business_age": "ancient"}, "features.business_age"),
        ({"franchise": "perhaps"}, "features.franchise"),
        ({"loan_id": None}, "loan_id"),
        ({"loan_id": 1234.0}, "loan_id"),
        ({"loan_id": float("nan")}, "loan_id"),
        ({"loan_id": ["a"]}, "loan_id"),
        ({"bank": ["A"]}, "features.bank"),
        ({"defaulted": "perhaps"}, "defaulted"),
    ],
)
def test_bad_cell_is_refused_by_field(overrides: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        READER.loan(row(**overrides), history=True, now=NOW)
    assert refused.value.field == field


@pytest.mark.parametrize("infinite", [float("inf"), "inf", "1.0e999"])
def test_infinity_is_no_missing_number(infinite: object) -> None:
    with pytest.raises(InvalidField) as refused:
        READER.loan(row(approved_amount=infinite), history=False, now=NOW)
    assert (refused.value.field, refused.value.value) == ("features.approved_amount", "inf")


def test_outcome_without_any_date_is_refused() -> None:
    undated = SBA.model_copy(update={"file": FileMapping(occurred_at="approved_at", defaulted="defaulted")})
    with pytest.raises(InvalidField, match="needs the date when it became known"):
        RowReader(undated).loan(row(), history=True, now=NOW)


@pytest.mark.parametrize("not_text", ["B\udcff", b"B\xff"])
def test_text_that_is_not_utf8_is_refused_by_field(not_text: str | bytes) -> None:
    with pytest.raises(InvalidField, match=r"features.bank = .*: is not UTF-8 text; save the file as UTF-8"):
        READER.loan(row(bank=not_text), history=False, now=NOW)
    with pytest.raises(InvalidField, match=r"loan_id = .*: is not UTF-8 text"):
        READER.loan(row(loan_id=not_text), history=False, now=NOW)


def test_binary_column_of_a_parquet_file_is_read_as_text() -> None:
    binary = row(loan_id=b"a", bank=b"B\xc3\xa4nk")
    assert READER.loan(binary, history=False, now=NOW) == READER.loan(row(bank="Bänk"), history=False, now=NOW)


def test_bad_row_is_named_and_the_others_go_on() -> None:
    refused: list[RefusedRow] = []
    broken = RefusedRow(3, None, "", "has 2 cells, the header 19")
    rows: list[Row | RefusedRow] = [row(), row(employees=-1), broken, row(loan_id="b")]
    events = list(loan_events(rows, READER, now=NOW, refuse=refused.append))
    assert [event.key for event in events] == [b"a", b"b"]
    assert [(r.number, r.field, r.value) for r in refused] == [(2, "features.employees", "-1"), (3, None, "")]


def test_empty_cell_is_refused_as_empty_with_what_would_accept_it() -> None:
    refused: list[RefusedRow] = []

    list(
        loan_events([row(employees=None), row(loan_id=None), row(employees=-1)], READER, now=NOW, refuse=refused.append)
    )

    empty, without_id, negative = (r.in_words for r in refused)
    assert empty.startswith("features.employees is empty: must be a whole number from ")
    assert empty.endswith("; with nullable = true in the portfolio an empty cell is a value")
    assert without_id.startswith("loan_id is empty: must be text or a whole number")
    assert negative.startswith("features.employees = -1: must be a whole number from ")
    assert "nullable" not in negative


def test_portfolio_that_says_of_no_outcome_when_it_became_known_is_refused_at_once() -> None:
    undated = SBA.model_copy(update={"file": FileMapping(occurred_at="approved_at", defaulted="defaulted")})

    with pytest.raises(FileMappingMissing, match=r"add outcome_known_at, .* or outcome_delay_days"):
        RowReader(undated).check_columns(list(row()), outcomes=True)
    RowReader(undated).check_columns(list(row()))


def test_missing_column_is_named() -> None:
    with pytest.raises(FileMappingMissing, match="no column approved_at, employees"):
        READER.check_columns([name for name in row() if name not in {"approved_at", "employees"}])
    READER.check_columns([name for name in row() if name not in {"term_months", "defaulted"}])
    with pytest.raises(FileMappingMissing, match="no column defaulted"):
        READER.check_columns([name for name in row() if name != "defaulted"], outcomes=True)


def test_date_that_stands_for_none_is_refused_by_field() -> None:
    with pytest.raises(InvalidField) as refused:
        READER.loan(row(approved_at="9999-12-31"), history=True, now=NOW)
    assert (refused.value.field, refused.value.value) == ("approved_at", "9999-12-31")


@pytest.mark.parametrize("number", ["1234,5", "1.234,50", "1,234.50"])
def test_decimal_comma_is_refused_with_what_to_write(number: str) -> None:
    with pytest.raises(InvalidField, match="with a point before decimals and nothing between thousands"):
        READER.loan(row(approved_amount=number), history=False, now=NOW)


def test_whole_decimal_is_an_id() -> None:
    assert READER.loan(row(loan_id=Decimal("1234")), history=False, now=NOW).key == b"1234"


@pytest.mark.parametrize("flag", [1.0, "1.0", Decimal(1)])
def test_flag_may_be_written_as_a_number(flag: object) -> None:
    assert READER.loan(row(defaulted=flag), history=True, now=NOW) == READER.loan(row(), history=True, now=NOW)
    assert READER.outcome(row(defaulted=0.0), now=NOW) == READER.outcome(row(defaulted=False), now=NOW)


def test_nan_says_that_there_is_no_outcome_yet() -> None:
    assert READER.outcome(row(defaulted=float("nan")), now=NOW) is None


@pytest.mark.parametrize("history", [True, False])
def test_date_in_the_future_is_refused_as_ingest_would(history: bool) -> None:
    READER.loan(row(approved_at=NOW + timedelta(minutes=5)), history=history, now=NOW)
    with pytest.raises(InvalidField, match=r"approved_at = .*: must not lie more than 5 minutes in the future"):
        READER.loan(row(approved_at=NOW + timedelta(minutes=6)), history=history, now=NOW)


def test_outcome_that_ingest_would_refuse_is_refused() -> None:
    with pytest.raises(InvalidField) as refused:
        READER.outcome(row(loan_id="x" * 65), now=NOW)
    assert refused.value.field == "loan_id"


def test_column_of_the_outcomes_date_is_wanted_where_the_portfolio_names_it() -> None:
    file = SBA.file.model_copy(update={"outcome_known_at": "charged_off_at"})
    reader = RowReader(SBA.model_copy(update={"file": file}))
    with pytest.raises(FileMappingMissing, match="no column charged_off_at"):
        reader.check_columns(list(row()), outcomes=True)
    reader.check_columns(list(row()))


def test_blank_line_makes_nothing_and_keeps_its_number() -> None:
    refused: list[RefusedRow] = []
    rows: list[Row | RefusedRow | None] = [row(), None, row(employees=-1)]
    assert len(list(loan_events(rows, READER, now=NOW, refuse=refused.append))) == 1
    assert [r.number for r in refused] == [3]
