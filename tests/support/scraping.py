"""A real Prometheus that scrapes the services of a test, with the file that is deployed but for where they are."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from tests.support.dashboards import Query
from tests.support.monitoring import running

DEPLOYED = Path(__file__).parents[2] / "deploy" / "prometheus"
SCRAPES_EVERY_S = 1
RATE_OVER = "15s"


def config_of(services: Mapping[str, str]) -> str:
    """`services`: each job's URL. One second for fifteen, and no key: the test's predictor asks for none."""
    config: dict[str, Any] = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    every = f"{SCRAPES_EVERY_S}s"
    config["global"] |= {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
    config["rule_files"] = [str(DEPLOYED / "rules" / "*.yml")]
    del config["alerting"]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for name, url in services.items():
        del jobs[name]["dns_sd_configs"]
        jobs[name].pop("authorization", None)
        jobs[name]["static_configs"] = [{"targets": [urlsplit(url).netloc]}]
    config["scrape_configs"] = [jobs[name] for name in services]
    return yaml.safe_dump(config)


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url

    async def ask(self, query: Query) -> list[Any]:
        """The series that Grafana would draw, each with its values, of the last quarter of an hour."""
        expr = query.text.replace("$__rate_interval", RATE_OVER)
        async with httpx.AsyncClient(base_url=self._url, timeout=20) as client:
            now = float((await client.get("/api/v1/query", params={"query": "time()"})).json()["data"]["result"][1])
            span = {"start": str(now - 900), "end": str(now), "step": "5"}
            answer = await client.get("/api/v1/query_range", params={"query": expr, **span})
        said = answer.json()
        assert said["status"] == "success", f"{query}: {said}"
        series: list[Any] = said["data"]["result"]
        return series

    async def down(self) -> list[str]:
        """What it could not scrape at its last try, with the reason."""
        async with httpx.AsyncClient(base_url=self._url, timeout=20) as client:
            targets = (await client.get("/api/v1/targets")).json()["data"]["activeTargets"]
        return [f"{target['scrapeUrl']}: {target['lastError']}" for target in targets if target["health"] != "up"]


@asynccontextmanager
async def scraping(services: Mapping[str, str], folder: Path) -> AsyncIterator[Prometheus]:
    async with running("prometheus", folder, config_of(services), "--storage.tsdb.path=data") as url:
        yield Prometheus(url)
