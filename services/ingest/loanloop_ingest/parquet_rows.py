"""Rows of a Parquet file. A value that Python can't hold costs its own row, not the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loanloop_ingest.domain.cells import UTF8_RULE
from loanloop_ingest.domain.file_events import RefusedRow, Row

# KeyError and its like: the name of a time zone that nobody knows.
_UNHELD = (pa.ArrowException, ValueError, OverflowError, KeyError)
_RULE = "can't be read; a date must be of the years 1900 to 9998"


def parquet_rows(path: Path) -> Iterator[Row | RefusedRow]:
    first = 1
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=4096):
            held = _in_microseconds(batch)
            try:
                yield from held.to_pylist()
            except _UNHELD:
                yield from _one_by_one(held, first)
            first += batch.num_rows


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Python's dates know no nanoseconds."""
    columns = [
        pc.cast(column, pa.timestamp("us", column.type.tz), safe=False)
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns"
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _one_by_one(batch: pa.RecordBatch, first: int) -> Iterator[Row | RefusedRow]:
    for index in range(batch.num_rows):
        row: dict[str, Any] = {}
        refused = None
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                row[name] = column[index].as_py()
            except _UNHELD as unheld:
                row[name] = _shown(column[index])
                rule = UTF8_RULE if isinstance(unheld, UnicodeDecodeError) else _RULE
                refused = refused or RefusedRow(first + index, name, row[name], rule, row)
        yield refused or row


def _shown(value: pa.Scalar) -> str:
    try:
        if pa.types.is_large_string(value.type) or pa.types.is_string(value.type):
            return repr(value.cast(pa.large_binary()).as_py())
        return str(value.cast(pa.string()).as_py())
    except _UNHELD:
        return str(value.type)
