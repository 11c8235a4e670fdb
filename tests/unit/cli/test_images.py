"""Tests on containers run on the images that docker-compose.yml names."""

import re
from pathlib import Path

import pytest
from loanloop.testing import images

COMPOSE = Path(__file__).parents[3] / "docker-compose.yml"


@pytest.mark.parametrize("image", [images.KAFKA, images.POSTGRES])
def test_images_are_those_of_compose(image: str) -> None:
    name, _, _ = image.partition(":")

    assert set(re.findall(rf"image: ({name}:\S+)", COMPOSE.read_text())) == {image}
