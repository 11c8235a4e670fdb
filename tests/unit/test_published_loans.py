"""The loans' file is made out of the published CSV as the sample that is shipped was."""

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portfolios.sba.make_loans import date_of, is_franchise, loans_of, read_published, zip3_of

SCRIPT = Path(__file__).parents[2] / "portfolios" / "sba" / "make_loans.py"
SAMPLE = SCRIPT.with_name("loans.parquet")
HEADER = (
    "LoanNr_ChkDgt,Name,City,State,Zip,Bank,BankState,NAICS,ApprovalDate,ApprovalFY,Term,NoEmp,NewExist,CreateJob,"
    "RetainedJob,FranchiseCode,UrbanRural,RevLineCr,LowDoc,ChgOffDate,DisbursementDate,DisbursementGross,BalanceGross,"
    "MIS_Status,ChgOffPrinGr,GrAppv,SBA_Appv"
)
OF_THE_SAMPLE = (  # as published, without the borrower's name
    '1004686005,,,MA,2767,"READYCAP LENDING, LLC",CA,811111,7-Feb-06,2006,97,3,2,0,3,81965,1,0,N,24-Sep-09,31-Mar-06,'
    '"$165,000.00 ",$0.00 ,CHGOFF,"$156,454.00 ","$165,000.00 ","$123,750.00 "',
    "1006015000,,,CO,80915,CALIFORNIA BANK & TRUST,CA,333515,28-Mar-03,2003,119,9,1,0,0,1,1,T,N,,30-Apr-03,"
    '"$100,000.00 ",$0.00 ,P I F,$0.00 ,"$100,000.00 ","$50,000.00 "',
    "1050326003,,,WI,54232,WISCONSIN BUS. DEVEL FINAN COR,WI,333111,16-Feb-06,2006,240,130,1,0,130,1,2,0,C,,13-Feb-08,"
    '"$1,306,000.00 ",$0.00 ,P I F,$0.00 ,"$1,306,000.00 ","$1,306,000.00 "',
)
OF_NO_KNOWN_END = OF_THE_SAMPLE[1].replace("1006015000", "1").replace("P I F", "")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "SBAnational.csv"
    path.write_text("\r\n".join([HEADER, *OF_THE_SAMPLE, OF_NO_KNOWN_END, ""]))
    return path


def by_id(loans: pa.Table) -> dict[str, dict[str, Any]]:
    return {str(loan["loan_id"]): loan for loan in loans.to_pylist()}


def test_published_loans_become_those_of_the_sample(published: Path) -> None:
    loans = loans_of(read_published(published))
    shipped = by_id(pq.read_table(SAMPLE))
    assert by_id(loans) == {line.split(",")[0]: shipped[line.split(",")[0]] for line in OF_THE_SAMPLE}
    assert loans["approved_at"].to_pylist() == sorted(loans["approved_at"].to_pylist())


def test_columns_are_those_of_the_sample(published: Path) -> None:
    assert loans_of(read_published(published)).column_names == pq.read_schema(SAMPLE).names


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("18-May-66", date(1966, 5, 18)),
        ("2-Feb-21", date(1921, 2, 2)),
        ("14-Apr-20", date(2020, 4, 14)),
        ("1-Jan-00", date(2000, 1, 1)),
        (None, None),
    ],
)
def test_a_year_of_two_digits_is_none_to_come(text: str | None, meant: date | None) -> None:
    assert date_of(pa.chunked_array([[text]], pa.string())).to_pylist() == [meant]


def test_a_zip_code_has_its_leading_zeros_again() -> None:
    assert zip3_of(pa.chunked_array([["96817", "2767", "802", "0", None]])).to_pylist() == [
        "968", "027", "008", None, None,
    ]  # fmt: skip


def test_whether_a_loan_is_of_a_franchise_is_missing_where_it_has_no_code() -> None:
    codes = pa.chunked_array([["1", "0", "81965", None]], pa.string())
    assert is_franchise(codes).to_pylist() == [False, False, True, None]


def test_the_script_writes_a_file_and_says_how_many(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.parquet"
    done = subprocess.run([sys.executable, SCRIPT, published, out], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("3 loans -> ")
    assert pq.read_metadata(out).num_rows == 3


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    done = subprocess.run(
        [sys.executable, SCRIPT, other, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "other.csv: Column 'LoanNr_ChkDgt'" in done.stderr
    assert "Traceback" not in done.stderr
