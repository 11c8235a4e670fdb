import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loanloop_ingest.domain.file_events import RefusedRow
from loanloop_ingest.loan_files import UnreadableFile, open_loan_file, place_in


def rows_of(path: Path) -> list[object]:
    return [row for chunk in open_loan_file(path).chunks() for row in chunk.rows]


def write(folder: Path, content: bytes, name: str = "loans.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"a,b\n1,\n,2\n", b"\xef\xbb\xbfa,b\r\n1,\r\n,2", b'a;b\n"1";\n;2\n'])
def test_csv_of_any_habit_gives_the_same_rows(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    assert open_loan_file(path).columns == ("a", "b")
    assert open_loan_file(path).n_rows == 2
    assert rows_of(path) == [{"a": "1", "b": None}, {"a": None, "b": "2"}]


def test_broken_line_is_refused_alone(tmp_path: Path) -> None:
    first, broken, last = rows_of(write(tmp_path, b'a,b\n"x, ""y""",1\n1\nz,2\n'))
    assert first == {"a": 'x, "y"', "b": "1"}
    assert broken == RefusedRow(2, None, "", "has 1 cells, the header 2")
    assert last == {"a": "z", "b": "2"}


@pytest.mark.parametrize("stray", [b'"x,1', b'x,"1', b'x",1', b'x,1"'])
def test_stray_quote_costs_its_own_line_only(tmp_path: Path, stray: bytes) -> None:
    path = write(tmp_path, b"a,b\n" + stray + b"\n" + b'"y",2\n' * 3)
    refused, *others = rows_of(path)
    assert isinstance(refused, RefusedRow)
    assert refused.number == 1
    assert "quote" in refused.rule
    assert others == [{"a": "y", "b": "2"}] * 3
    assert open_loan_file(path).n_rows == 4


def test_bytes_that_are_not_utf8_stay_in_their_row(tmp_path: Path) -> None:
    assert rows_of(write(tmp_path, b"a,b\n\xff,1\nz,2\n"))[1] == {"a": "z", "b": "2"}


def test_chunks_are_numbered_from_one(tmp_path: Path) -> None:
    path = write(tmp_path, b"a\n" + b"x\n" * 5)
    assert [(chunk.first, len(chunk.rows)) for chunk in open_loan_file(path).chunks(size=2)] == [(1, 2), (3, 2), (5, 1)]


def test_parquet_gives_typed_rows(tmp_path: Path) -> None:
    path = tmp_path / "loans.parquet"
    pq.write_table(pa.table({"a": ["x", None], "n": [1, 2]}), path)
    assert open_loan_file(path).n_rows == 2
    assert rows_of(path) == [{"a": "x", "n": 1}, {"a": None, "n": 2}]


def test_parquet_text_that_is_not_utf8_costs_its_row_and_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "loans.parquet"
    values = pa.array([b"x", b"\xffy", b"z"])
    text = pa.Array.from_buffers(pa.string(), len(values), values.buffers())  # nobody checks the bytes
    pq.write_table(pa.table({"a": text, "n": [1, 2, 3]}), path)

    first, refused, last = rows_of(path)

    rule = "is not UTF-8 text; save the file as UTF-8"
    assert refused == RefusedRow(2, "a", repr(b"\xffy"), rule, {"a": repr(b"\xffy"), "n": 2})
    assert (first, last) == ({"a": "x", "n": 1}, {"a": "z", "n": 3})


@pytest.mark.parametrize(("name", "content"), [("a.parquet", b"PAR1 no"), ("a.csv", b"\xff\xff"), ("a.xlsx", b"")])
def test_what_is_no_loan_file_is_said_in_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(UnreadableFile, match=name):
        open_loan_file(write(tmp_path, content, name))


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "loans.csv"
    os.mkfifo(pipe)
    with pytest.raises(UnreadableFile, match="is no file"):
        open_loan_file(pipe)


def test_empty_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="is empty"):
        open_loan_file(write(tmp_path, b""))


def test_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="more than one column a"):
        open_loan_file(write(tmp_path, b"a,b,a\n1,2,3\n"))


def test_damaged_parquet_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "loans.parquet"
    pq.write_table(pa.table({"a": [str(n) * 9 for n in range(50_000)]}), path)
    content = bytearray(path.read_bytes())
    content[1000:4000] = bytes(255 - byte for byte in content[1000:4000])
    path.write_bytes(content)

    with pytest.raises(UnreadableFile, match="can't be read after row"):
        list(open_loan_file(path).chunks())


def test_blank_line_is_passed_over(tmp_path: Path) -> None:
    assert rows_of(write(tmp_path, b"a,b\n1,2\n\n \r\n3,4\n\n")) == [
        {"a": "1", "b": "2"},
        None,
        None,
        {"a": "3", "b": "4"},
        None,
    ]


def test_suffix_in_capitals_is_the_same_kind(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,b\n1,2\n", "LOANS.CSV")
    assert rows_of(path) == [{"a": "1", "b": "2"}]
    assert place_in(path, 1) == "line 2"
    pq.write_table(pa.table({"a": [1]}), tmp_path / "LOANS.PARQUET")
    assert rows_of(tmp_path / "LOANS.PARQUET") == [{"a": 1}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\r1,2\r3,4\r", "ends its lines with CR alone"),
        ("a,b\n1,2\n".encode("utf-16"), "is not UTF-8 text; save the file as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "is not UTF-8 text; save the file as UTF-8"),
        ("Stra\u00dfe,b\n1,2\n".encode("latin-1"), "is not UTF-8 text; save the file as UTF-8"),
        (b"1,false,false\n2,true,true\n", "the first line must name the columns"),
    ],
    ids=["CR", "UTF-16", "UTF-16 without mark", "Latin-1", "no header"],
)
def test_what_to_do_is_said_of_a_csv_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UnreadableFile, match=said):
        open_loan_file(write(tmp_path, content))


def test_value_that_python_cannot_hold_costs_its_own_row(tmp_path: Path) -> None:
    path = tmp_path / "loans.parquet"
    dates = pa.array([0, 10**18, 86_400 * 10**6], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"a": [1, 2, 3], "at": dates}), path)

    first, refused, last = rows_of(path)

    assert (first, last) == (
        {"a": 1, "at": datetime(1970, 1, 1, tzinfo=UTC)},
        {"a": 3, "at": datetime(1970, 1, 2, tzinfo=UTC)},
    )
    assert isinstance(refused, RefusedRow)
    assert (refused.number, refused.field) == (2, "at")
    assert "of the years 1900 to 9998" in refused.rule


def test_nanoseconds_are_read_as_microseconds(tmp_path: Path) -> None:
    path = tmp_path / "loans.parquet"
    pq.write_table(pa.table({"at": pa.array([1_001], pa.timestamp("ns", "UTC"))}), path)
    assert rows_of(path) == [{"at": datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)}]
