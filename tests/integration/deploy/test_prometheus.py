"""The rules and queries that Prometheus gets, read by its own tool."""

import json
from pathlib import Path

import pytest
import yaml

from tests.support.dashboards import boards
from tests.support.monitoring import promtool

FOLDER = Path(__file__).parents[3] / "deploy" / "prometheus"
RULES = FOLDER / "rules" / "loanloop.yml"
TESTS = sorted((FOLDER / "tests").glob("*.yml"))


def alerts() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


async def test_each_alert_fires_when_it_should_and_not_otherwise() -> None:
    code, said = await promtool("test", "rules", *map(str, TESTS))

    assert code == 0, said


def test_each_alert_is_shown_to_fire_and_to_be_silent() -> None:
    tests = [test for file in TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]

    assert {case["alertname"] for case in cases if "exp_alerts" in case} == set(alerts())
    assert {case["alertname"] for case in cases if "exp_alerts" not in case} == set(alerts()) - {"LoanloopWatchdog"}


async def test_configuration_is_one_that_prometheus_takes() -> None:
    code, said = await promtool("check", "config", "--syntax-only", str(FOLDER / "prometheus.yml"))

    assert code == 0, said


async def test_queries_of_the_dashboard_are_well_formed(tmp_path: Path) -> None:
    exprs = [query.text for board in boards() for query in board.queries if query.source == "loanloop-prometheus"]
    rules = [{"record": f"query:{n}", "expr": expr.replace("$__rate_interval", "1m")} for n, expr in enumerate(exprs)]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))

    code, said = await promtool("check", "rules", "--lint=none", str(file))

    assert (code, len(exprs) > 30) == (0, True), said


@pytest.mark.parametrize("service", ["predictor", "ingest", "trainer", "evaluator"])
def test_every_replica_of_a_service_is_scraped(service: str) -> None:
    (job,) = [
        job
        for job in yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
        if job["job_name"] == service
    ]

    assert job["dns_sd_configs"] == [
        {"names": [service], "type": "A", "port": 8000 if service == "predictor" else 9464}
    ]
