"""Dashboards and rules ask for metrics that there are, by labels that they have."""

import re
from pathlib import Path

import yaml
from loanloop_common.telemetry import CATALOGUE

from tests.support.dashboards import boards

RULES = Path(__file__).parents[3] / "deploy" / "prometheus" / "rules" / "loanloop.yml"
NAME = re.compile(r"\bloanloop_[a-z0-9_]+")
SELECTED = re.compile(r"\b(loanloop_[a-z0-9_]+)\{([^}]*)\}")


def exprs() -> list[str]:
    asked = [query.text for board in boards() for query in board.queries if query.source == "loanloop-prometheus"]
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return asked + [rule["expr"] for group in groups for rule in group["rules"]]


def metric_of(series: str) -> str:
    """A histogram's series have an end of their own."""
    stem = re.sub(r"_(bucket|sum|count)$", "", series)
    return stem if stem in CATALOGUE else series


def test_every_metric_that_is_asked_for_is_in_the_catalogue() -> None:
    asked = {metric_of(name) for expr in exprs() for name in NAME.findall(expr)}

    assert asked - set(CATALOGUE) == set()


def test_every_label_that_is_selected_by_is_one_of_the_metric() -> None:
    for expr in exprs():
        for series, matchers in SELECTED.findall(expr):
            labels = set(re.findall(r"(\w+)\s*[=!]", matchers))
            assert labels <= set(CATALOGUE[metric_of(series)].labels), expr
