"""What deploy/kubernetes promises of every pod, and that the settings, ports, images and users it names exist."""

import re
import tomllib
from urllib.parse import urlsplit

import pytest
from loanloop.main import app
from loanloop_common.lifecycle import AFTER_PARTS_S
from loanloop_common.settings import ServiceSettings, load_settings
from loanloop_evaluator.config import EvaluatorSettings
from loanloop_ingest.config import IngestSettings
from loanloop_predictor.config import PredictorSettings
from loanloop_trainer.config import TrainerSettings
from pydantic import BaseModel
from typer.main import get_command

from tests.support.kubernetes import (
    FOLDER,
    KUSTOMIZATIONS,
    PODS,
    RESOURCES,
    ROOT,
    SERVICES,
    SETTINGS,
    WORKLOADS,
    container_of,
    environment_of,
    named,
)

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NAME = "app.kubernetes.io/name"
KINDS: dict[str, tuple[type[ServiceSettings], ...]] = {
    "ingest": (IngestSettings,),
    "predictor": (PredictorSettings,),
    "trainer": (TrainerSettings,),
    "evaluator": (EvaluatorSettings,),
    "operator": (ServiceSettings, PredictorSettings),  # the page asks for the predictor's keys
}
OF_COMMANDS = (ServiceSettings,)
each_pod = pytest.mark.parametrize("pod", sorted(PODS))
each_service = pytest.mark.parametrize("service", SERVICES)


@each_pod
def test_a_pod_has_no_rights_that_it_does_not_need(pod: str) -> None:
    spec, container = PODS[pod]["spec"], container_of(pod)
    user = re.search(r"useradd --uid (\d+)", DOCKERFILE)
    assert user
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        **dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), int(user[1])),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False


@each_pod
def test_a_pod_says_what_it_needs_and_has_a_bound(pod: str) -> None:
    resources = container_of(pod)["resources"]
    assert {"cpu", "memory"} <= resources["requests"].keys()
    assert "memory" in resources["limits"]
    for volume in PODS[pod]["spec"]["volumes"]:
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": None}), volume["name"]


@each_pod
def test_an_image_is_a_target_of_the_dockerfile_and_its_tag_this_version(pod: str) -> None:
    image = container_of(pod)["image"]
    tags = {one["name"]: one["newTag"] for one in KUSTOMIZATIONS[FOLDER / "cluster"]["images"]}
    assert f"AS {image.removeprefix('loanloop-')}\n" in DOCKERFILE
    assert tags[image] == VERSION


def test_what_another_image_than_the_services_runs_is_a_command_of_loanloop() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]  # a group's
    asked = {container_of(pod)["args"][0] for pod in PODS.keys() - set(SERVICES)}
    assert asked == {"migrate", "page", "backup", "restore"}
    assert asked <= commands.keys()


def variables_of(pod: str) -> dict[str, str]:
    """Those of loanloop that it is given: of the common settings, where it takes them."""
    own = {one["name"] for one in container_of(pod)["env"]}
    taken = {name: value for name, value in environment_of(pod).items() if takes_settings(pod) or name in own}
    return {name: value for name, value in taken.items() if name.startswith("LOANLOOP_")}


def takes_settings(pod: str) -> bool:
    return {"configMapRef": {"name": "settings"}} in container_of(pod).get("envFrom", [])


@each_pod
def test_every_setting_exists_and_is_taken(pod: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = variables_of(pod)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings: list[ServiceSettings] = [load_settings(kind) for kind in KINDS.get(pod, OF_COMMANDS)]
    for name in variables:
        assert any(is_field(one, name.removeprefix("LOANLOOP_").lower().split("__")) for one in settings), name


@each_pod
def test_no_setting_repeats_what_holds_without_it(pod: str) -> None:
    own = {"LOANLOOP_PORTFOLIO"}  # a line to change
    for name, value in variables_of(pod).items():
        path = name.removeprefix("LOANLOOP_").lower().split("__")
        defaults = [kind.model_construct() for kind in KINDS.get(pod, OF_COMMANDS)]
        assert name in own or value not in {str(value_of(one, path)) for one in defaults if is_field(one, path)}, name


def value_of(settings: object, path: list[str]) -> object:
    for part in path:
        settings = getattr(settings, part)
    return settings


def is_field(settings: object, path: list[str]) -> bool:
    for part in path:
        if not isinstance(settings, BaseModel) or part not in type(settings).model_fields:
            return False
        settings = getattr(settings, part)
    return True


def test_what_speaks_with_kafka_logs_in_and_the_migrations_do_not_speak_with_it() -> None:
    assert {pod for pod in PODS if not takes_settings(pod)} == {"migrations"}
    assert not [name for name in variables_of("migrations") if "KAFKA" in name]


def test_an_upgrade_can_apply_one_job_and_nothing_else() -> None:
    for job in named("Job"):
        labelled = [one for one in RESOURCES if one["metadata"].get("labels", {}).get(NAME) == job]
        assert [(one["kind"], one["metadata"]["name"]) for one in labelled] == [("Job", job)]


@each_service
def test_a_port_is_the_one_that_the_service_listens_on(service: str) -> None:
    (port,) = container_of(service)["ports"]
    rest, metrics = PredictorSettings.model_fields["predictor"].default.port, SETTINGS["LOANLOOP_TELEMETRY__PORT"]
    assert port["containerPort"] == (rest if service == "predictor" else int(metrics))
    (served,) = named("Service")[service]["spec"]["ports"]
    assert (served["port"], served["targetPort"]) == (port["containerPort"], port["name"])
    let_in = {
        one["port"]
        for policy in named("NetworkPolicy").values()
        for rule in policy["spec"].get("ingress", [])
        for one in rule["ports"]
    }
    assert port["containerPort"] in let_in


@each_service
def test_a_service_is_asked_whether_it_is_well_where_it_answers_that(service: str) -> None:
    container = container_of(service)
    where = {"path": "/health", "port": container["ports"][0]["name"]}
    started = container["startupProbe"]
    assert started["httpGet"] == where
    # It does not listen before Kafka and PostgreSQL answer, which may take a night.
    assert started["periodSeconds"] * started["failureThreshold"] >= 86_400
    assert container["readinessProbe"]["httpGet"] == where
    # A restart brings no Kafka back, and ends a hang.
    assert container["livenessProbe"]["httpGet"] == where | {"path": "/alive"}


def test_a_backup_that_is_late_is_told_and_a_restore_reads_where_backups_are_written() -> None:
    backup, deployment = container_of("backup"), named("Deployment")["backup"]["spec"]
    assert {"--every", "--keep"} < set(backup["args"])
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    (port,) = backup["ports"]
    assert port["containerPort"] == int(SETTINGS["LOANLOOP_TELEMETRY__PORT"])
    assert backup["readinessProbe"]["httpGet"] == {"path": "/health", "port": port["name"]}
    served = named("Service")["backup"]["spec"]
    assert (served["selector"], served["ports"][0]["targetPort"]) == (
        PODS["backup"]["metadata"]["labels"],
        port["name"],
    )
    where = {name: mounted(name, "backups") for name in ("backup", "restore")}
    assert where == {"backup": ("/backups", False), "restore": ("/backups", True)}
    assert container_of("restore")["args"][1].startswith(where["restore"][0])
    assert named("Job")["restore"]["spec"]["suspend"] is True


def mounted(pod: str, claim: str) -> tuple[str, bool]:
    """Where, and whether it may only be read."""
    (volume,) = (
        one["name"]
        for one in PODS[pod]["spec"]["volumes"]
        if one.get("persistentVolumeClaim", {}).get("claimName") == claim
    )
    (mount,) = (one for one in container_of(pod)["volumeMounts"] if one["name"] == volume)
    return mount["mountPath"], mount.get("readOnly", False)


@each_service
def test_a_service_is_given_the_time_it_takes_to_stop(service: str) -> None:
    container = container_of(service)
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    takes = before + float(ServiceSettings.model_fields["stop_within_s"].default) + AFTER_PARTS_S
    assert PODS[service]["spec"]["terminationGracePeriodSeconds"] > takes


@each_service
def test_a_service_keeps_nothing_on_a_disk(service: str) -> None:
    kinds = {next(key for key in volume if key != "name") for volume in PODS[service]["spec"]["volumes"]}
    assert kinds <= {"emptyDir", "secret", "configMap"}
    assert all(v["emptyDir"]["medium"] == "Memory" for v in PODS[service]["spec"]["volumes"] if "emptyDir" in v)


@each_service
def test_a_node_can_be_emptied_and_replicas_are_spread(service: str) -> None:
    labels = PODS[service]["metadata"]["labels"]
    budget = named("PodDisruptionBudget")[service]["spec"]
    assert budget["selector"]["matchLabels"] == labels == named("Service")[service]["spec"]["selector"]
    assert budget["maxUnavailable"] == 1
    deployment = named("Deployment")[service]["spec"]
    assert deployment["selector"]["matchLabels"] == labels
    spread = PODS[service]["spec"].get("topologySpreadConstraints", [])
    assert deployment["replicas"] == 1 or {one["topologyKey"] for one in spread} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }


def test_no_password_stands_in_a_file() -> None:
    assert "Secret" not in {one["kind"] for one in RESOURCES}
    for pod in PODS:
        for name, value in environment_of(pod).items():
            assert "PASSWORD" not in name or value.startswith("secret "), name
            assert not (value.startswith("postgresql://") and urlsplit(value).password), name


def test_every_file_is_listed_and_every_workload_is_of_one_account() -> None:
    for folder, kustomization in KUSTOMIZATIONS.items():
        listed = {name for name in kustomization.get("resources", []) if name.endswith(".yaml")}
        assert listed == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}, folder.name
    assert {PODS[pod]["spec"]["serviceAccountName"] for pod in PODS} == set(named("ServiceAccount"))
    assert len(PODS) == sum(one["kind"] in WORKLOADS for one in RESOURCES)
