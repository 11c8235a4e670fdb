"""REST requests of the demo: real loans of the stream's days, each asked for once and never sent again."""

import asyncio
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

WORKERS = 4
QUEUE_LIMIT = 64


@dataclass
class RestFigures:
    sent: int = 0
    failed: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float | None:
        ordered = sorted(self.latencies_ms)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


class RestClient:
    """`ask` queues a loan for POST /predict; a request that fails is counted, never repeated."""

    def __init__(self, url: str, api_key: str | None = None, trusted: ssl.SSLContext | bool = True) -> None:
        self.figures = RestFigures()
        self._url = url
        self._trusted = trusted
        self._headers = {"content-type": "application/json"} | ({"x-api-key": api_key} if api_key else {})
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_LIMIT)

    async def ask(self, loan: bytes) -> None:
        """Waits while too many requests are under way."""
        await self._queue.put(loan)

    async def finish(self) -> None:
        await self._queue.join()

    async def run(self) -> None:
        """Until cancelled."""
        async with (
            httpx.AsyncClient(base_url=self._url, timeout=30, headers=self._headers, verify=self._trusted) as client,
            asyncio.TaskGroup() as workers,
        ):
            for _ in range(WORKERS):
                workers.create_task(self._work(client))

    async def _work(self, client: httpx.AsyncClient) -> None:
        while True:
            loan = await self._queue.get()
            try:
                await self._post(client, loan)
            finally:
                self._queue.task_done()

    async def _post(self, client: httpx.AsyncClient, loan: bytes) -> None:
        started = time.perf_counter()
        self.figures.sent += 1
        try:
            answer = await client.post("/predict", content=loan)
        except httpx.HTTPError as error:
            self._failed(repr(error))
            return
        self.figures.latencies_ms.append((time.perf_counter() - started) * 1000)
        if answer.status_code != httpx.codes.OK:
            self._failed(f"{answer.status_code}: {answer.text[:200]}")
            return
        self.figures.by_version[answer.json()["version"]] += 1

    def _failed(self, why: str) -> None:
        self.figures.failed += 1
        self.figures.failures = [*self.figures.failures[:4], why]
