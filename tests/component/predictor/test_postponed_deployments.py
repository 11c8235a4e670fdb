"""A deployment that can't be loaded for now: waited for a moment, and then what is older serves meanwhile."""

import pytest
from loanloop_common.errors import Unavailable
from loanloop_common.portfolio_file import load_portfolio
from loanloop_predictor.serving.champions import Champions, NoModel
from loanloop_predictor.store.availability import DatabaseAway

from tests.support.models_in_memory import ModelsInMemory

SHORT = [MemoryError(), Unavailable("bundle v2 can't be loaded by OpenVINO for now: std::bad_alloc")]


def champions_of(store: ModelsInMemory) -> Champions:
    return Champions(store, load_portfolio("sba"), threads=1)  # type: ignore[arg-type]  # a store in memory


async def look_in_vain(champions: Champions) -> str:
    with pytest.raises(Unavailable) as told:
        await champions.reconcile()
    return str(told.value)


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
async def test_what_cannot_be_loaded_twice_leaves_the_version_before_to_serve_until_it_can(error: Exception) -> None:
    store = ModelsInMemory()
    champions = champions_of(store)
    store.deploy("v1")
    store.deploy("v2")
    store.short_of["v2"] = error

    told = [await look_in_vain(champions)]
    with pytest.raises(NoModel, match="v2 can't be loaded for now"):
        champions.serving()
    told += [await look_in_vain(champions), await look_in_vain(champions)]
    assert (champions.serving().by.version, champions.applied_seq) == ("v1", 1)
    assert champions.postponed is not None
    assert (champions.postponed.version, champions.postponed.deployment_seq) == ("v2", 2)
    assert ["nothing serves" in said for said in told] == [True, False, False]
    assert all("v2 can't be loaded for now" in said or "bad_alloc" in said for said in told)
    assert store.looked_at == ["v2", "v2", "v1", "v2"]

    del store.short_of["v2"]
    await champions.reconcile()
    assert (champions.serving().by.version, champions.refused) == ("v2", {})
    assert champions.refusal is None
    champions.serving().scorer.close()


async def test_what_can_be_loaded_at_the_second_look_lets_nothing_older_decide() -> None:
    store = ModelsInMemory()
    champions = champions_of(store)
    store.deploy("v1")
    store.deploy("v2")
    store.short_of["v2"] = MemoryError()
    await look_in_vain(champions)

    del store.short_of["v2"]
    await champions.reconcile()
    assert champions.serving().by.version == "v2"
    assert store.looked_at == ["v2", "v2"]
    champions.serving().scorer.close()


async def test_a_newer_deployment_that_can_be_loaded_ends_the_wait_for_one_that_cannot() -> None:
    store = ModelsInMemory()
    champions = champions_of(store)
    store.deploy("v1")
    await champions.reconcile()
    store.deploy("v2")
    store.short_of["v2"] = MemoryError()
    for _ in range(2):
        await look_in_vain(champions)
    assert champions.serving().by.version == "v1"

    store.deploy("v3")
    await champions.reconcile()
    assert (champions.serving().by.version, champions.postponed) == ("v3", None)
    champions.serving().scorer.close()


async def test_a_database_that_goes_away_postpones_nothing() -> None:
    store = ModelsInMemory()
    champions = champions_of(store)
    store.deploy("v1")
    store.deploy("v2")
    store.short_of["v2"] = DatabaseAway("PostgreSQL does not answer")
    for _ in range(3):
        with pytest.raises(DatabaseAway):
            await champions.reconcile()
    assert (champions.current, champions.postponed) == (None, None)
    assert set(store.looked_at) == {"v2"}
