"""How much memory the embedded PostgreSQL may keep pages in."""

import pytest
from loanloop.runtime.postgres import shared_buffers_mib


@pytest.mark.parametrize(("memory_mib", "taken_mib"), [(512, 128), (4096, 512), (7168, 896), (262_144, 1024)])
def test_an_eighth_of_the_memory_within_bounds(memory_mib: int, taken_mib: int) -> None:
    assert shared_buffers_mib(memory_mib) == taken_mib
