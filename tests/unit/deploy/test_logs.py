"""What is shipped to Elasticsearch: its template has a type for every field that a service logs."""

import ast
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from loanloop_common.kafka import RemovedRecords
from loanloop_trainer.domain.calibration import validation_metrics

ROOT = Path(__file__).parents[3]
TEMPLATE: dict[str, Any] = json.loads((ROOT / "deploy/logs/index-template.json").read_text())
MAPPED: dict[str, Any] = TEMPLATE["template"]["mappings"]["properties"]
OWN: dict[str, Any] = MAPPED["loanloop"]["properties"]
FILEBEAT = yaml.safe_load((ROOT / "deploy/logs/filebeat.yml").read_text())
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
ALWAYS = {"timestamp", "level", "event", "service", "logger"}

PLACE, IDS = {"topic", "partition", "offset"}, {"event_id", "trace_id"}
METRICS = set(validation_metrics(np.array([0.2, 0.8]), np.array([False, True]), 0.5))
COMMON, PREDICTOR = "libs/common/loanloop_common", "services/predictor/loanloop_predictor"
# What `**` stands for in a line, by its module and the expression behind it.
EXPANDED: dict[tuple[str, str], set[str]] = {
    (f"{COMMON}/removed_records.py", "asdict(removed)"): {field.name for field in fields(RemovedRecords)},
    (f"{COMMON}/kafka/removed.py", "asdict(removed)"): {field.name for field in fields(RemovedRecords)},
    (f"{COMMON}/sampled_lines.py", "facts"): PLACE | IDS | {"decision_id", "version", "channel"},
    (f"{COMMON}/sampled_lines.py", "unsaid"): {"others_unsaid"},
    ("services/ingest/loanloop_ingest/handlers.py", "about_of(refusal.record)"): PLACE | IDS,
    (f"{PREDICTOR}/handlers.py", "about_of(refusal.record)"): PLACE | IDS,
    (f"{PREDICTOR}/api/routes.py", "about"): {"trace_id"},
    (f"{PREDICTOR}/api/errors.py", "trace_of_request(request.scope['headers'])"): {"trace_id"},
    (f"{PREDICTOR}/api/access.py", "trace_of_request(scope['headers'])"): {"trace_id"},
    ("services/trainer/loanloop_trainer/runner/training.py", "model.metrics"): METRICS,
}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every line that a service may log, with the module that it stands in."""
    for folder in ("services", "libs/common", "libs/cli/loanloop/page", "libs/cli/loanloop/backups"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level)) if level in LEVELS:
                        yield path.relative_to(ROOT).as_posix(), node


def logged_fields() -> dict[str, str]:
    """By name, with a module that logs it."""
    found = dict.fromkeys(ALWAYS | {"exception"}, "telemetry")
    for module, call in calls():
        for keyword in call.keywords:
            expression = ast.unparse(keyword.value)
            names = {keyword.arg} if keyword.arg else EXPANDED.get((module, expression))
            assert names is not None, f"{module}: say above what **{expression} stands for"
            found |= dict.fromkeys(names - {"exc_info"}, module)
    return found


def test_every_field_that_is_logged_has_a_type_and_no_other_has_one() -> None:
    logged = logged_fields()
    assert len(logged) > 50
    assert {name: module for name, module in logged.items() if name not in OWN} == {}
    assert OWN.keys() - logged.keys() == set()


def test_the_template_makes_a_data_stream_of_what_the_shipper_writes() -> None:
    index = FILEBEAT["output.elasticsearch"]["index"]
    assert TEMPLATE["data_stream"] == {}
    assert TEMPLATE["priority"] > 200  # of Elasticsearch's own
    assert [pattern for pattern in TEMPLATE["index_patterns"] if index.startswith(pattern.removesuffix("*"))]
    assert MAPPED["@timestamp"] == {"type": "date"}


@pytest.mark.parametrize("alias", [MAPPED["message"], MAPPED["trace"]["properties"]["id"]])
def test_a_field_that_kibana_asks_for_is_one_of_ours(alias: dict[str, str]) -> None:
    assert alias["type"] == "alias"
    assert alias["path"].removeprefix("loanloop.") in OWN


def test_the_lines_of_each_service_are_shipped() -> None:
    decoding, dropping, _ = FILEBEAT["processors"]
    target = decoding["decode_json_fields"]["target"]
    kept = {next(iter(one["equals"].items())) for one in dropping["drop_event"]["when"]["not"]["or"]}
    services = {path.name.removeprefix("loanloop_") for path in (ROOT / "services").glob("*/loanloop_*")}
    assert kept == {(f"{target}.service", service) for service in services | {"page", "backup"}}
