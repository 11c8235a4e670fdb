"""Tests on containers run on the images that docker-compose.yml names."""

import re
from pathlib import Path

import pytest
from loanloop.runtime import kafka_jars
from loanloop.testing import images

COMPOSE = Path(__file__).parents[3] / "docker-compose.yml"


@pytest.mark.parametrize("image", [images.KAFKA, images.POSTGRES])
def test_images_are_those_of_compose(image: str) -> None:
    name, _, _ = image.partition(":")

    assert set(re.findall(rf"image: ({name}:\S+)", COMPOSE.read_text())) == {image}


def test_kafka_is_of_the_release_that_runs_without_containers() -> None:
    assert images.KAFKA.endswith(f":{kafka_jars.VERSION}")
