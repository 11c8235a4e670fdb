"""The heartbeat row by which a running service is seen, with what it has applied."""

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg
import structlog

from loanloop_common.polling import Poller
from loanloop_common.postgres import UNREACHABLE, Pool

log = structlog.get_logger()


# States of a part that is at work. Any other says what it does instead.
AT_WORK = frozenset({"consuming", "looking", "serving"})

# An instance that was not seen for so long is away.
STALE_AFTER_S = 10.0

IS_RUNNING = """
    SELECT EXISTS (SELECT FROM loan_data.service_instances
                   WHERE service = $1 AND seen_at > now() - make_interval(secs => $2))
"""

DELETE_INSTANCE = "DELETE FROM loan_data.service_instances WHERE instance_id = $1"

BEAT = """
    INSERT INTO loan_data.service_instances
        (instance_id, service, host, pid, url, version, deployment_seq, detail)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (instance_id) DO UPDATE SET
        url = excluded.url, version = excluded.version, deployment_seq = excluded.deployment_seq,
        detail = excluded.detail, pid = excluded.pid, seen_at = now()
"""


async def fetch_is_running(pool: Pool, *, service: str) -> bool:
    """Whether an instance of it was seen lately."""
    runs: bool = await pool.fetchval(IS_RUNNING, service, STALE_AFTER_S)
    return runs


class Heartbeat:
    """Writes this instance's row every `every_s`; stop() removes it, a kill leaves one that grows old."""

    name = "heartbeat"

    def __init__(
        self,
        pool: Pool,
        *,
        service: str,
        instance_id: str,
        url: str | None = None,
        every_s: float = 2.0,
        report: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._pool = pool
        self._service = service
        self._instance_id = instance_id
        self._url = url
        self.report = report
        self._version: str | None = None
        self._deployment_seq: int | None = None
        self._detail: dict[str, Any] = {}
        self._poller = Poller(self._beat, every_s=every_s, name=f"heartbeat-{service}")

    @property
    def state(self) -> str:
        return self._poller.state

    def update(
        self,
        *,
        version: str | None = None,
        deployment_seq: int | None = None,
        url: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is given, and write soon."""
        self._version = version or self._version
        self._deployment_seq = deployment_seq or self._deployment_seq
        self._url = url or self._url
        self._detail |= detail or {}
        self._poller.wake()

    async def start(self) -> None:
        await self._poller.start()

    async def stop(self) -> None:
        await self._poller.stop()
        try:
            await self._pool.execute(DELETE_INSTANCE, self._instance_id, timeout=2)
        except (*UNREACHABLE, asyncpg.PostgresError) as error:
            log.warning("heartbeat_row_left", error=repr(error))

    async def _beat(self) -> None:
        await self._pool.execute(
            BEAT,
            self._instance_id,
            self._service,
            socket.gethostname(),
            os.getpid(),
            self._url,
            self._version,
            self._deployment_seq,
            {**self._detail, **self.report()},
            timeout=5,
        )
