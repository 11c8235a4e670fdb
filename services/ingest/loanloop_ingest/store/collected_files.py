"""How far the collector has come in each file, by the file's content."""

from dataclasses import dataclass
from datetime import datetime

from loanloop_common.alerts import Alert, raise_alert
from loanloop_common.postgres import Pool

# What a row becomes depends on the moment: that of the first claim holds for the whole file, whoever goes on with it.
CLAIM = """
    INSERT INTO loan_data.collected_files (sha256, path, rows_total)
    VALUES ($1, $2, $3)
    ON CONFLICT (sha256) DO UPDATE SET path = excluded.path
    RETURNING started_at, rows_done, n_produced, n_refused, finished_at IS NOT NULL AS finished
"""

ADVANCE = """
    UPDATE loan_data.collected_files
    SET rows_done = $2, n_produced = n_produced + $3, n_refused = n_refused + $4
    WHERE sha256 = $1 AND rows_done < $2
"""

FINISH = """
    UPDATE loan_data.collected_files SET rows_total = rows_done, finished_at = now() WHERE sha256 = $1
    RETURNING started_at, rows_done, n_produced, n_refused, true AS finished
"""

# A row of a file is refused under the file and the row's number, as a message under topic and offset.
REFUSE_ROW = """
    INSERT INTO loan_data.rejected (
        service, topic, kafka_partition, kafka_offset, reason, field, rule, message,
        payload, payload_bytes, payload_sha256
    )
    VALUES ('collector', $1, 0, $2, 'invalid_row', $3, $4, $5, $6::bytea, length($6::bytea), sha256($6::bytea))
    ON CONFLICT (topic, kafka_partition, kafka_offset, service, payload_sha256) DO NOTHING
"""


@dataclass(frozen=True)
class Progress:
    started_at: datetime
    rows_done: int
    n_produced: int
    n_refused: int
    finished: bool


@dataclass(frozen=True)
class RefusedFileRow:
    """What is kept of a refused row. `source` names the file, `content` the row as JSON."""

    source: str
    number: int
    field: str | None
    rule: str
    message: str
    content: bytes


class CollectedFileStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, sha256: bytes, path: str, n_rows: int) -> Progress:
        """Where to go on in the file, which may have been read before under another name."""
        row = dict(await self._pool.fetchrow(CLAIM, sha256, path, n_rows) or {})
        return Progress(**row)

    async def advance(self, sha256: bytes, rows_done: int, n_produced: int, refused: list[RefusedFileRow]) -> None:
        """After the rows up to `rows_done` are acknowledged by Kafka."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = [(r.source, r.number, r.field, r.rule, r.message, r.content) for r in refused]
            await connection.executemany(REFUSE_ROW, rows)
            await connection.execute(ADVANCE, sha256, rows_done, n_produced, len(refused))

    async def raise_unusable(self, path: str, modified_ns: int, reason: str) -> None:
        """An alert, once for each state of the file."""
        alert = Alert(
            kind="data_quality",
            fact=f"file:{path}:{modified_ns}",
            severity="warning",
            message=f"the file {path} was not collected: {reason}",
            details={"file": path, "reason": reason},
        )
        async with self._pool.acquire() as connection, connection.transaction():
            await raise_alert(connection, alert, service="ingest")

    async def finish(self, sha256: bytes) -> Progress:
        row = dict(await self._pool.fetchrow(FINISH, sha256) or {})
        return Progress(**row)
