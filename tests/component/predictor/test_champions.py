"""What is served as deployments come, with a real bundle from a store in memory."""

from loanloop_common.bundle import unpack
from loanloop_common.portfolio_file import load_portfolio
from loanloop_predictor.serving.champions import Champions, Swap

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
