"""What lies in deploy/kubernetes, before it is rendered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
SERVICES = ("ingest", "predictor", "trainer", "evaluator")

Resource = dict[str, Any]


def _read() -> Iterator[Resource]:
    for path in sorted(FOLDER.glob("*/*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


RESOURCES: tuple[Resource, ...] = tuple(_read())
KUSTOMIZATIONS = {path.parent: yaml.safe_load(path.read_text()) for path in FOLDER.glob("*/kustomization.yaml")}
SETTINGS = dict(line.split("=", 1) for line in (FOLDER / "services/settings.env").read_text().splitlines())


def named(kind: str) -> dict[str, Resource]:
    return {one["metadata"]["name"]: one for one in RESOURCES if one["kind"] == kind}


def _template_of(resource: Resource) -> Resource | None:
    spec = resource["spec"]["jobTemplate"]["spec"] if resource["kind"] == "CronJob" else resource["spec"]
    template: Resource | None = spec.get("template")
    return template


WORKLOADS = ("Deployment", "Job", "CronJob")
PODS: dict[str, Resource] = {
    one["metadata"]["name"]: template
    for one in RESOURCES
    if one["kind"] in WORKLOADS and (template := _template_of(one))
}


def container_of(pod: str) -> Resource:
    (container,) = PODS[pod]["spec"]["containers"]
    return dict(container)


def environment_of(pod: str) -> dict[str, str]:
    """With the names of Secrets in place of what is in them."""
    own = {one["name"]: one.get("value") or f"secret {_secret(one)}" for one in container_of(pod)["env"]}
    return SETTINGS | own


def _secret(variable: Resource) -> str:
    return str(variable["valueFrom"]["secretKeyRef"]["name"])
