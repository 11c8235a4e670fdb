"""Kafka and PostgreSQL in containers that cannot start say why in one sentence, and leave nothing."""

from pathlib import Path

import pytest
from loanloop.runtime import postgres
from loanloop.runtime.ports import ANY_FREE
from loanloop.runtime.problems import CannotRun
from loanloop.testing import images
from loanloop.testing.infrastructure import ContainerInfrastructure
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import Reaper
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID

pytestmark = pytest.mark.containers


def containers_of_this_process() -> set[str]:
    found = DockerClient().client.containers.list(all=True, filters={"label": f"{LABEL_SESSION_ID}={SESSION_ID}"})
    return {str(container.id) for container in found}


async def refusal(folder: Path) -> str:
    before = containers_of_this_process()
    with pytest.raises(CannotRun) as refused:
        async with ContainerInfrastructure(folder, ports=ANY_FREE):
            pass
    assert containers_of_this_process() == before
    return str(refused.value)


async def test_an_image_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "KAFKA", "127.0.0.1:1/apache/kafka:4")

    sentence = await refusal(tmp_path)

    assert sentence.startswith("A container of 127.0.0.1:1/apache/kafka:4 cannot be started: ")
    assert "\n" not in sentence


async def test_the_image_that_removes_containers_is_named_where_it_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reaper, "_instance", None)
    monkeypatch.setattr(testcontainers_config, "ryuk_image", "127.0.0.1:1/testcontainers/ryuk:0")
    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", False)

    sentence = await refusal(tmp_path)

    assert sentence.startswith("The container of 127.0.0.1:1/testcontainers/ryuk:0, which removes the others")
    assert "TESTCONTAINERS_RYUK_DISABLED=true" in sentence
    assert "\n" not in sentence


async def test_a_server_that_ends_at_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(postgres.SETTINGS, "shared_bufers", "1GB")

    sentence = await refusal(tmp_path)

    assert f"{images.POSTGRES} ended at its start" in sentence
    assert 'unrecognized configuration parameter "shared_bufers"' in sentence
    assert "shared_bufers" in (tmp_path / "logs" / "postgres.log").read_text()
