"""What is served as deployments come, with a real bundle from a store in memory."""

import pytest
from loanloop_common.bundle import unpack
from loanloop_common.portfolio_file import load_portfolio
from loanloop_predictor.serving.champions import Champions, NoModel, Swap
from loanloop_predictor.store.models import StoredModel

from tests.support.models_in_memory import ModelsInMemory


async def test_promote_of_the_live_version_is_a_swap_without_a_load() -> None:
    store, swaps = ModelsInMemory(), list[Swap]()
    champions = Champions(store, load_portfolio("sba"), threads=1, on_swap=swaps.append)  # type: ignore[arg-type]
    store.deploy("v1")
    await champions.reconcile()
    scorer = champions.serving().scorer
    store.deploy("v1")
    await champions.reconcile()

    assert champions.serving().scorer is scorer
    assert [(swap.deployment_seq, swap.load_ms is None) for swap in swaps] == [(1, False), (2, True)]
    assert champions.serving().bundle.manifest == unpack(store.bundle).manifest
    scorer.close()


async def test_without_a_model_it_is_said_whether_none_is_deployed_or_one_is_not_there_yet() -> None:
    store = ModelsInMemory()
    champions = Champions(store, load_portfolio("sba"), threads=1)  # type: ignore[arg-type]  # a store in memory
    with pytest.raises(NoModel, match="has just started and does not know yet"):
        champions.serving()

    await champions.reconcile()
    with pytest.raises(NoModel, match="none is deployed for sba"):
        champions.serving()

    store.deploy("v1")
    said: list[str] = []

    async def asked_while_it_loads(version: str) -> StoredModel:
        with pytest.raises(NoModel) as refused:
            champions.serving()
        said.append(str(refused.value))
        return await ModelsInMemory.fetch_model(store, version)

    store.fetch_model = asked_while_it_loads  # type: ignore[method-assign]
    await champions.reconcile()
    assert said == ["waiting for a model: v1 is being loaded"]
    assert champions.serving().by.version == "v1"
