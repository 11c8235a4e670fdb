"""Connections that observe how long each statement takes, under its name. A cursor's statements are not seen.

The driver's own hook for statements takes twice as long, keeps the arguments until then, and passes COPY by.
"""

import time
from typing import Any

import asyncpg

from loanloop_common.query_names import query_name
from loanloop_common.telemetry import count, observe


class _Observed:
    __slots__ = ("_query", "_started")

    def __init__(self, query: str) -> None:
        self._query = query

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        observe("loanloop_db_query_duration_seconds", time.perf_counter() - self._started, query=self._query)
        if kind is not None:
            count("loanloop_db_query_errors_total", query=self._query)


class ObservedConnection(asyncpg.Connection):
    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        with _Observed(query_name(query)):
            return await super().execute(query, *args, **options)

    async def executemany(self, command: str, args: Any, **options: Any) -> None:
        with _Observed(query_name(command)):
            await super().executemany(command, args, **options)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        with _Observed(query_name(query)):
            return await super().fetch(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        with _Observed(query_name(query)):
            return await super().fetchrow(query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        with _Observed(query_name(query)):
            return await super().fetchval(query, *args, **options)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        with _Observed(f"copy.{table_name}"):
            return await super().copy_records_to_table(table_name, **options)

    async def copy_from_query(self, query: str, *args: Any, **options: Any) -> str:
        with _Observed(query_name(query)):
            return await super().copy_from_query(query, *args, **options)
