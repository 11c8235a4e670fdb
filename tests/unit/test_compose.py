"""What the compose files promise of every container, also of one that is added later."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
Service = dict[str, Any]


class OfCompose(yaml.SafeLoader):
    """Knows that compose's own tags say how files are put together; the value beneath is what counts here."""


def value_beneath(loader: OfCompose, node: yaml.SequenceNode) -> list[Any]:
    return loader.construct_sequence(node)


for tag in ("!override", "!reset"):
    OfCompose.add_constructor(tag, value_beneath)


def read(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((ROOT / name).read_text(), OfCompose)
    return loaded


def over(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = {key: over(base[key], more[key]) for key in base.keys() & more if isinstance(more[key], dict)}
    return base | more | both


COMPOSE = read("docker-compose.yml")
ALONE: dict[str, Service] = COMPOSE["services"]
CLUSTER = {
    name: over(ALONE.get(service.get("extends", {}).get("service", name), {}), service)
    for name, service in read("docker-compose.cluster.yml")["services"].items()
}
NAMED = [*ALONE.items(), *CLUSTER.items()]
ALL = {name for name, _ in NAMED}
OURS = {name for name, service in NAMED if service["image"].startswith("loanloop-")}
ONE_SHOT = {"passwords", "migrations", "database-users", "topics", "loanloop", "restore", "demo", "log-index"}
OWNERS = {"migrations", "restore"}  # of the database: they change its tables
WITHOUT_LOGIN = {"kafka", "kafka-2", "kafka-3", "prometheus", "alertmanager", "kibana"}
WITHOUT_DATABASE = {"passwords", "topics", "balancer"}


def each(names: set[str]) -> pytest.MarkDecorator:
    """Of one machine, then as the second file changes it."""
    chosen = [
        pytest.param(name, service, id=name if place < len(ALONE) else f"{name} of the cluster")
        for place, (name, service) in enumerate(NAMED)
        if name in names
    ]
    return pytest.mark.parametrize(("name", "service"), chosen)


@each(ALL)
def test_a_container_has_no_rights_of_root_but_those_it_was_given(name: str, service: Service) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@each(OURS)
def test_a_container_of_ours_writes_nothing_outside_of_its_volumes(name: str, service: Service) -> None:
    assert service["read_only"] is True


@each(ALL)
def test_memory_processes_and_logs_of_a_container_have_a_bound(name: str, service: Service) -> None:
    limits = service["deploy"]["resources"]["limits"]
    assert {"memory", "pids"} <= limits.keys()
    assert "max-size" in service["logging"]["options"]


@each(ALL)
def test_ports_are_bound_to_loopback_and_those_without_a_login_are_not_opened_with_the_others(
    name: str, service: Service
) -> None:
    opened_by = "LOANLOOP_BIND_WITHOUT_LOGIN" if name in WITHOUT_LOGIN else "LOANLOOP_BIND"
    for port in service.get("ports", []):
        assert port.startswith(f"${{{opened_by}:-127.0.0.1}}:")


@each(OURS - OWNERS)
def test_a_service_logs_in_to_the_database_as_itself(name: str, service: Service) -> None:
    dsn = service.get("environment", {}).get("LOANLOOP_POSTGRES__DSN")
    if dsn is None:
        assert name in WITHOUT_DATABASE
        return
    user = urlsplit(dsn).username
    assert user == ("operator" if name in ("loanloop", "demo") else name)
    assert next(volume for volume in service["volumes"] if volume.startswith("secrets-")) == (
        f"secrets-{user}:/run/secrets/loanloop:ro"
    )
    assert "secrets-postgres:" not in str(service["volumes"])


def test_nothing_that_stays_up_knows_the_owners_password() -> None:
    knows = {name for name, service in NAMED if "secrets-postgres:" in str(service.get("volumes"))}
    assert knows == {"passwords", "database-users", "postgres", *OWNERS}
    assert knows - ONE_SHOT == {"postgres"}


@each(ALL - ONE_SHOT)
def test_what_stays_up_comes_back_by_itself_and_says_whether_it_is_well(name: str, service: Service) -> None:
    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service


@each(ALL - OURS)
def test_the_tag_of_an_image_of_others_is_pinned(name: str, service: Service) -> None:
    _, _, tag = service["image"].partition(":")
    assert tag not in ("", "latest")
    assert "." in tag


@each(ALL)
def test_no_password_stands_in_the_file(name: str, service: Service) -> None:
    for variable, value in service.get("environment", {}).items():
        assert "PASSWORD" not in variable or variable.endswith(("_FILE", "__FILE")), variable
        assert not (str(value).startswith("postgresql://") and urlsplit(value).password), variable


def test_the_broker_loses_no_event_to_its_age() -> None:
    kafka = ALONE["kafka"]["environment"]
    assert kafka["KAFKA_LOG_RETENTION_MS"] == -1
    assert kafka["KAFKA_LOG_MESSAGE_TIMESTAMP_TYPE"] == "LogAppendTime"


def test_the_data_folder_of_postgresql_is_said_and_lies_in_its_volume() -> None:
    postgres = ALONE["postgres"]
    mounted = [volume.split(":")[1] for volume in postgres["volumes"] if volume.startswith("postgres:")]
    assert postgres["environment"]["PGDATA"].startswith(mounted[0] + "/")


@each(ALL)
def test_kafka_that_asks_for_no_login_is_reached_by_ours_alone(name: str, service: Service) -> None:
    is_broker = name.startswith("kafka")
    talks_to_it = name in OURS - {"passwords", "migrations", "balancer"}
    assert ("stream" in service.get("networks", [])) == (is_broker or talks_to_it)
    assert not is_broker or service["networks"] == ["stream"]


@each({"kafka", "kafka-2", "kafka-3"})
def test_a_broker_is_reached_by_a_name_that_can_be_asked_for(name: str, service: Service) -> None:
    """Kafka refuses to advertise 0.0.0.0, which a port may well be bound to."""
    advertised = service["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert "LOANLOOP_BIND" not in advertised
    assert "EXTERNAL://${LOANLOOP_KAFKA_ADVERTISED:-127.0.0.1}:" in advertised


def test_down_v_deletes_every_volume_but_those_of_the_logs() -> None:
    """It passes over what only services of a profile mount, and says so nowhere."""
    always = [service for service in ALONE.values() if "profiles" not in service]
    mounted = {volume.partition(":")[0] for service in always for volume in service.get("volumes", [])}
    assert set(COMPOSE["volumes"]) - mounted == {"elasticsearch", "filebeat"}


def test_the_secrets_that_the_receivers_name_are_mounted() -> None:
    named = re.findall(r"_file: (/\S+)/\w+", (ROOT / "deploy" / "alertmanager" / "receivers.yml").read_text())
    folders = [volume.split(":")[-2] for volume in ALONE["alertmanager"]["volumes"]]
    assert named
    assert set(named) <= set(folders)


def test_what_holds_the_logs_without_a_password_is_reached_by_its_own_alone() -> None:
    elasticsearch = ALONE["elasticsearch"]
    assert COMPOSE["networks"]["logs"] == {"internal": True}
    assert (elasticsearch["networks"], elasticsearch.get("ports")) == (["logs"], None)
    beside = {name for name, service in ALONE.items() if "logs" in service.get("networks", [])}
    assert beside == {"elasticsearch", "log-index", "filebeat", "kibana"}


@each({"elasticsearch", "log-index", "filebeat", "kibana"})
def test_the_logs_are_shipped_where_that_is_asked_for(name: str, service: Service) -> None:
    assert service["profiles"] == ["logs"]
