"""What docker-compose.yml promises of every container, also of one that is added later."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("loanloop-")}
ONE_SHOT = {"passwords", "migrations", "database-users", "topics", "loanloop", "demo", "log-index"}
OWNERS = {"migrations", "backup"}  # of the database: they need all of it
WITHOUT_LOGIN = {"kafka", "prometheus", "alertmanager", "kibana"}
each_service = pytest.mark.parametrize("name", sorted(SERVICES))


@each_service
def test_a_container_has_no_rights_of_root_but_those_it_was_given(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_container_of_ours_writes_nothing_outside_of_its_volumes(name: str) -> None:
    assert SERVICES[name]["read_only"] is True


@each_service
def test_memory_processes_and_logs_of_a_container_have_a_bound(name: str) -> None:
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert {"memory", "pids"} <= limits.keys()
    assert "max-size" in SERVICES[name]["logging"]["options"]


@each_service
def test_ports_are_bound_to_loopback_and_those_without_a_login_are_not_opened_with_the_others(name: str) -> None:
    opened_by = "LOANLOOP_BIND_WITHOUT_LOGIN" if name in WITHOUT_LOGIN else "LOANLOOP_BIND"
    for port in SERVICES[name].get("ports", []):
        assert port.startswith(f"${{{opened_by}:-127.0.0.1}}:")


@pytest.mark.parametrize("name", sorted(OURS - OWNERS))
def test_a_service_logs_in_to_the_database_as_itself(name: str) -> None:
    service = SERVICES[name]
    dsn = service.get("environment", {}).get("LOANLOOP_POSTGRES__DSN")
    if dsn is None:
        assert name in ("passwords", "topics")
        return
    user = urlsplit(dsn).username
    assert user == ("operator" if name in ("loanloop", "demo") else name)
    assert next(volume for volume in service["volumes"] if volume.startswith("secrets-")) == (
        f"secrets-{user}:/run/secrets/loanloop:ro"
    )
    assert "secrets-postgres:" not in str(service["volumes"])


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_SHOT))
def test_what_stays_up_comes_back_by_itself_and_says_whether_it_is_well(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - OURS))
def test_the_tag_of_an_image_of_others_is_pinned(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert tag not in ("", "latest")
    assert "." in tag


@each_service
def test_no_password_stands_in_the_file(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        assert "PASSWORD" not in variable or variable.endswith(("_FILE", "__FILE")), variable
        assert not (str(value).startswith("postgresql://") and urlsplit(value).password), variable


def test_the_broker_loses_no_event_to_its_age() -> None:
    kafka = SERVICES["kafka"]["environment"]
    assert kafka["KAFKA_LOG_RETENTION_MS"] == -1
    assert kafka["KAFKA_LOG_MESSAGE_TIMESTAMP_TYPE"] == "LogAppendTime"


def test_the_data_folder_of_postgresql_is_said_and_lies_in_its_volume() -> None:
    postgres = SERVICES["postgres"]
    mounted = [volume.split(":")[1] for volume in postgres["volumes"] if volume.startswith("postgres:")]
    assert postgres["environment"]["PGDATA"].startswith(mounted[0] + "/")


def test_what_holds_the_logs_without_a_password_is_reached_by_its_own_alone() -> None:
    elasticsearch = SERVICES["elasticsearch"]
    assert COMPOSE["networks"]["logs"] == {"internal": True}
    assert (elasticsearch["networks"], elasticsearch.get("ports")) == (["logs"], None)
    beside = {name for name, service in SERVICES.items() if "logs" in service.get("networks", [])}
    assert beside == {"elasticsearch", "log-index", "filebeat", "kibana"}


@pytest.mark.parametrize("name", ["elasticsearch", "log-index", "filebeat", "kibana"])
def test_the_logs_are_shipped_where_that_is_asked_for(name: str) -> None:
    assert SERVICES[name]["profiles"] == ["logs"]
