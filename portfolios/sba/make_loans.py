"""Makes the loans' Parquet file out of the published CSV: `make_loans.py SBAnational.csv ALL_LOANS.parquet`.

Loans without a known end are left out. `make_sample.py` draws the sample in this folder from such a file.
"""

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

DEFAULTED = {"CHGOFF": True, "P I F": False}
BUSINESS_AGE = {"1": "existing", "2": "new"}
URBAN_RURAL = {"1": "urban", "2": "rural"}
YES_NO = {"Y": "Y", "N": "N"}  # all else that is written there has no meaning that is known
NO_FRANCHISE = [0, 1]
PUBLISHED = (
    "LoanNr_ChkDgt", "ApprovalDate", "DisbursementDate", "ChgOffDate", "State", "Zip", "Bank", "BankState", "NAICS",
    "Term", "NoEmp", "NewExist", "CreateJob", "RetainedJob", "FranchiseCode", "UrbanRural", "RevLineCr", "LowDoc",
    "DisbursementGross", "GrAppv", "SBA_Appv", "MIS_Status",
)  # fmt: skip


def read_published(path: Path) -> pa.Table:
    """As text. Raises ArrowInvalid or ArrowKeyError where it is not that CSV."""
    return pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=PUBLISHED,
            column_types=dict.fromkeys(PUBLISHED, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


def loans_of(published: pa.Table) -> pa.Table:
    """With the columns of this folder's README, by date of approval, of one day as they were published."""
    known = published.filter(pc.is_in(published["MIS_Status"], pa.array(list(DEFAULTED))))
    loans = pa.table(
        {
            "loan_id": known["LoanNr_ChkDgt"],
            "approved_at": date_of(known["ApprovalDate"]),
            "disbursed_at": date_of(known["DisbursementDate"]),
            "charged_off_at": date_of(known["ChgOffDate"]),
            "state": known["State"],
            "zip3": zip3_of(known["Zip"]),
            "bank": known["Bank"],
            "bank_state": known["BankState"],
            "naics": known["NAICS"],
            "term_months": known["Term"].cast(pa.int16()),
            "employees": known["NoEmp"].cast(pa.int32()),
            "business_age": told(known["NewExist"], BUSINESS_AGE),
            "jobs_created": known["CreateJob"].cast(pa.int32()),
            "jobs_retained": known["RetainedJob"].cast(pa.int32()),
            "franchise": is_franchise(known["FranchiseCode"]),
            "urban_rural": told(known["UrbanRural"], URBAN_RURAL),
            "revolving_credit": told(known["RevLineCr"], YES_NO),
            "low_doc": told(known["LowDoc"], YES_NO),
            "disbursed_amount": dollars_of(known["DisbursementGross"]),
            "approved_amount": dollars_of(known["GrAppv"]),
            "guaranteed_amount": dollars_of(known["SBA_Appv"]),
            "defaulted": told(known["MIS_Status"], DEFAULTED),
        }
    )
    return loans.sort_by("approved_at")


def date_of(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of `28-Feb-97`: years have two digits there, and no loan is of 2021 or later."""
    of_1900s = pc.replace_substring_regex(text, r"-(2[1-9]|[3-9]\d)$", r"-19\1")
    written_out = pc.replace_substring_regex(of_1900s, r"-(\d\d)$", r"-20\1")
    return pc.strptime(written_out, "%d-%b-%Y", "s").cast(pa.date32())


def zip3_of(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """The zip code is published as a number, without its leading zeros; 0 is none."""
    given = pc.if_else(pc.equal(text, "0"), None, text)
    return pc.utf8_slice_codeunits(pc.utf8_lpad(given, 5, "0"), 0, 3)


def is_franchise(codes: pa.ChunkedArray) -> pa.ChunkedArray:
    """Missing where no code is given."""
    is_none = pc.is_in(codes.cast(pa.int32()), pa.array(NO_FRANCHISE, pa.int32()))
    return pc.if_else(pc.is_null(codes), None, pc.invert(is_none))


def told(codes: pa.ChunkedArray, meaning: dict[str, str] | dict[str, bool]) -> pa.ChunkedArray:
    """Missing where a code has no meaning."""
    return pc.take(pa.array(list(meaning.values())), pc.index_in(codes, pa.array(list(meaning))))


def dollars_of(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of `$60,000.00 `."""
    return pc.replace_substring_regex(text, r"[$, ]", "").cast(pa.float64())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("published", type=Path)
    arguments.add_argument("out", type=Path)
    given = arguments.parse_args()
    try:
        loans = loans_of(read_published(given.published))
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        arguments.error(f"{given.published}: {error}")
    pq.write_table(loans, given.out, compression="zstd", compression_level=19)
    print(f"{loans.num_rows:,} loans -> {given.out} ({given.out.stat().st_size / 1e6:.1f} MB)")  # noqa: T201 - a script


if __name__ == "__main__":
    main()
