"""Connections that observe how long each statement takes, under its name."""

import time
from typing import Any

import asyncpg
from asyncpg.connection import LoggedQuery

from loanloop_common.query_names import query_name
from loanloop_common.telemetry import count, observe


class ObservedConnection(asyncpg.Connection):
    """COPY passes the driver's own hook for statements by."""

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        started, name = time.perf_counter(), f"copy.{table_name}"
        try:
            return await super().copy_records_to_table(table_name, **options)
        except BaseException:
            count("loanloop_db_query_errors_total", query=name)
            raise
        finally:
            observe("loanloop_db_query_duration_seconds", time.perf_counter() - started, query=name)


def observe_statement(record: LoggedQuery) -> None:
    name = query_name(record.query)
    observe("loanloop_db_query_duration_seconds", record.elapsed, query=name)
    if record.exception is not None:
        count("loanloop_db_query_errors_total", query=name)
