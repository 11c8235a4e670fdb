"""Reads loan files, CSV and Parquet, in chunks of rows. A broken line is a refused row, not the end of the file."""

import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from loanloop_common.errors import LoanloopError, in_one_line

from loanloop_ingest.domain.cells import UTF8_RULE
from loanloop_ingest.domain.file_events import RefusedRow, Row
from loanloop_ingest.parquet_rows import parquet_rows

SUFFIXES = (".csv", ".parquet")
_READ_BYTES = 1 << 20
# What the readers raise for a file cut short, damaged, or with values that Python can't hold.
_BROKEN = (OSError, pa.ArrowException, csv.Error, ValueError, OverflowError)
_STRAY_QUOTE = "has a quote without its pair (a loan is one line, also within quotes)"


class UnreadableFile(LoanloopError):
    """The file can't be opened as CSV or Parquet."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"{path}: {reason}")


class Stamp(NamedTuple):
    """By what a change of a file is seen."""

    size_bytes: int
    modified_ns: int


class Chunk(NamedTuple):
    """Some rows of a file, in order; `first` is the number of the first, counted from 1. None is a blank line."""

    first: int
    rows: list[Row | RefusedRow | None]


@dataclass(frozen=True)
class LoanFile:
    """An opened loan file. In CSV each line is a row: quotes can't hold a line break."""

    path: Path
    columns: tuple[str, ...]
    n_rows: int

    def chunks(self, size: int = 2000) -> Iterator[Chunk]:
        """Raises UnreadableFile at the first part that can't be read."""
        read: Callable[[Path], Iterator[Row | RefusedRow | None]]
        read = parquet_rows if _suffix(self.path) == ".parquet" else _csv_rows
        first, rows = 1, list[Row | RefusedRow | None]()
        try:
            for row in read(self.path):
                rows.append(row)
                if len(rows) == size:
                    yield Chunk(first, rows)
                    first, rows = first + size, []
        except _BROKEN as broken:
            raise UnreadableFile(self.path, f"can't be read after row {first - 1:,}: {_said(broken)}") from broken
        if rows:
            yield Chunk(first, rows)


def open_loan_file(path: Path) -> LoanFile:
    """Raises UnreadableFile, in one sentence."""
    try:
        if path.exists() and not path.is_file():
            raise UnreadableFile(path, "is no file")
        if _suffix(path) == ".parquet":
            metadata = pq.read_metadata(path)
            return _checked(LoanFile(path, tuple(metadata.schema.to_arrow_schema().names), metadata.num_rows))
        if _suffix(path) == ".csv":
            return _checked(LoanFile(path, tuple(_csv_header(path)), max(_count_lines(path) - 1, 0)))
    except UnicodeDecodeError as not_utf8:
        raise UnreadableFile(path, UTF8_RULE) from not_utf8
    except _BROKEN as broken:
        raise UnreadableFile(path, f"can't be read: {_said(broken)}") from broken
    raise UnreadableFile(path, "is neither .csv nor .parquet")


def place_in(path: Path, number: int) -> str:
    """Where the row is, as an editor or a spreadsheet counts a CSV: its header is line 1."""
    return f"line {number + 1}" if _suffix(path) == ".csv" else f"row {number}"


def stamp_of(path: Path) -> Stamp | None:
    """None where it is gone, or out of reach."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


def _checked(file: LoanFile) -> LoanFile:
    if not file.columns:
        raise UnreadableFile(file.path, "is empty: it has no columns")
    twice = sorted({name or "without a name" for name in file.columns if file.columns.count(name) > 1})
    if twice:
        header = "; the first line must name the columns" if _suffix(file.path) == ".csv" else ""
        raise UnreadableFile(file.path, f"has more than one column {', '.join(twice)}{header}")
    return file


def _suffix(path: Path) -> str:
    """As the kinds are named, however the file's name is written."""
    return path.suffix.lower()


def _said(broken: Exception) -> str:
    """Without errno and the file's name, which the sentence has already."""
    return (isinstance(broken, OSError) and broken.strerror) or in_one_line(broken)


def file_sha256(path: Path) -> bytes:
    """Raises UnreadableFile."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as broken:
        raise UnreadableFile(path, f"can't be read: {_said(broken)}") from broken


def _count_lines(path: Path) -> int:
    n_lines, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            n_lines += block.count(b"\n")
            last = block[-1:]
    return n_lines + (last != b"\n")


def _csv_header(path: Path) -> list[str]:
    """Raises UnreadableFile or UnicodeDecodeError."""
    with path.open("rb") as file:
        line = file.readline(_READ_BYTES).decode("utf-8-sig")
    if "\0" in line:
        raise UnreadableFile(path, UTF8_RULE)
    if "\r" in line.removesuffix("\n").removesuffix("\r"):
        raise UnreadableFile(path, "ends its lines with CR alone; save the file with LF or CRLF")
    return next(csv.reader([line], delimiter=_delimiter(line)), [])


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _csv_rows(path: Path) -> Iterator[Row | RefusedRow | None]:
    columns = _csv_header(path)
    # Text that isn't UTF-8 survives as surrogates, so that only its own row is refused.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        delimiter = _delimiter(file.readline())
        for number, line in enumerate(file, start=1):
            if not line.strip(" \r\n"):
                yield None
                continue
            # Line by line: else one quote too many makes a single cell of the whole rest of the file.
            if line.count('"') % 2:
                yield RefusedRow(number, None, "", _STRAY_QUOTE)
                continue
            try:
                (cells,) = csv.reader([line], delimiter=delimiter, strict=True)
            except csv.Error as broken:
                yield RefusedRow(number, None, "", f"is no CSV line: {broken}")
                continue
            yield _csv_row(number, columns, cells)


def _csv_row(number: int, columns: list[str], cells: list[str]) -> Row | RefusedRow:
    if len(cells) != len(columns):
        return RefusedRow(number, None, "", f"has {len(cells)} cells, the header {len(columns)}")
    return {column: cell or None for column, cell in zip(columns, cells, strict=True)}
