"""What ended a training, as its run says it: what helps an operator, and nothing that is nobody's business."""

import errno

import asyncpg
import pytest
from loanloop_common.errors import InvalidField, Unavailable
from loanloop_common.features import Encoder
from loanloop_trainer.runner.causes import AT_MOST, cause_of

ENDED_WITH = "the training process ended with "


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("[enforce fail]\n  can't allocate 133 GB"), "RuntimeError: [enforce fail] can't allocate 133 GB"),
        (OSError(errno.ENOSPC, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (MemoryError(), "MemoryError"),
        (
            asyncpg.UndefinedTableError('relation "x" does not exist'),
            'UndefinedTableError: relation "x" does not exist',
        ),
        (Unavailable("no memory for\x00 v1"), "Unavailable: no memory for? v1"),
        (RuntimeError("at postgresql://me:s3cr:t@host:1/db now"), "RuntimeError: at postgresql://host:1/db now"),
        (RuntimeError("postgresql://me:p@ss@host/db"), "RuntimeError: postgresql://host/db"),
        (OSError("no host=a password=s3cret user=me"), "OSError: no host=a password=… user=me"),
        (OSError(r"no host=a Password = 's3 \' cret' user=me"), "OSError: no host=a Password = … user=me"),
        (OSError("host=a password='s3 cret"), "OSError: host=a password=…"),
        (
            asyncpg.PostgresError.new({"C": "23505", "M": 'duplicate key "x"', "D": "Key (loan_id)=(my-1) exists."}),
            'UniqueViolationError: duplicate key "x"',
        ),
        (KeyError("CA"), "KeyError"),
        (ValueError("could not convert string to float: '12 000'"), "ValueError"),
        (InvalidField("income", 12_000, "must be positive"), "InvalidField"),
        (asyncpg.DataError('invalid input syntax for type numeric: "12 000"'), "DataError"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_machine_and_settings_are_quoted_and_loans_and_passwords_are_not(error: Exception, said: str) -> None:
    assert cause_of(error) == ENDED_WITH + said


def test_what_is_not_quoted_is_placed_in_our_code() -> None:
    with pytest.raises(KeyError) as missing:
        Encoder.from_dict({})

    assert cause_of(missing.value).startswith(ENDED_WITH + "KeyError at loanloop_common/features.py:")


def test_long_text_is_cut() -> None:
    assert len(cause_of(RuntimeError("x" * 10_000))) == AT_MOST
