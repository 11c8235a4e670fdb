"""`loanloop mlflow`: versions, figures and the live one in an MLflow server."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loanloop.options import DataDir

if TYPE_CHECKING:
    from loanloop.mirror.mirror import Mirror
    from loanloop.operating import Operated


def mlflow(
    uri: Annotated[
        str, typer.Option(envvar="MLFLOW_TRACKING_URI", help="Of the server, which tracks runs and keeps the registry.")
    ],
    once: Annotated[bool, typer.Option("--once", help="Bring it up to date and end.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=1, help="Seconds between two looks.")] = 15.0,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Mirror every version into MLflow: parameters, figures, the bundle, the gate's verdict, the alias `champion`.

    Runs until Ctrl-C, with `--once` a single time. The database stays the truth: nothing is read back, a version that
    MLflow lacks is written again, and an MLflow that is away is waited for.

    **Examples**

    - `MLFLOW_TRACKING_URI=http://127.0.0.1:5000 loanloop mlflow`
    - `loanloop mlflow --uri http://mlflow.example:5000 --once`
    """
    from importlib.util import find_spec
    from urllib.parse import urlsplit

    from loanloop_common.errors import LoanloopError

    from loanloop.runtime.foreground import until_signalled

    if find_spec("mlflow") is None:
        raise LoanloopError("MLflow's client is not installed here: install loanloop with its extra `mlflow`.")
    if "@" in urlsplit(uri).netloc:  # what is said of it, here and by MLflow's client, would say the password
        raise LoanloopError(
            "MLflow's address must have no login in it: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    if asyncio.run(until_signalled(_mirror(uri, once, every_s, data_dir))):
        print("stopped")


async def _mirror(uri: str, once: bool, every_s: float, data_dir: Path) -> None:
    from loanloop_predictor.store.models import ModelStore

    from loanloop.mirror.keeping import look_again_and_again
    from loanloop.mirror.mirror import Mirror
    from loanloop.operating import operated

    loop = asyncio.get_running_loop()
    async with operated(data_dir, read_only=True) as operating:
        models = ModelStore(operating.pool)

        def bundle_of(version: str) -> bytes:  # asked for in a thread; the pool belongs to the loop
            return asyncio.run_coroutine_threadsafe(models.fetch_model(version), loop).result().bundle

        mirror = Mirror(uri, operating.portfolio.name, bundle_of)
        print(f"mirroring preset {operating.portfolio.name} to {uri}")
        if once:
            await _look(mirror, operating, uri)
            return
        await look_again_and_again(lambda: _look(mirror, operating, uri), every_s=every_s, tell=print)


async def _look(mirror: "Mirror", operating: "Operated", uri: str) -> None:
    """Raises Unavailable where MLflow does not take it."""
    from loanloop_common.errors import Unavailable
    from loanloop_evaluator.store.models import fetch_version_facts
    from mlflow.exceptions import MlflowException

    from loanloop.mirror.mirror import words_of

    async with operating.pool.acquire() as connection:
        facts = await fetch_version_facts(connection, operating.portfolio.name)
    try:
        changed = await asyncio.to_thread(mirror.bring_up_to_date, facts)
    except MlflowException as error:
        raise Unavailable(f"MLflow at {uri} does not take it: {words_of(error)}") from error
    if changed:
        print(f"in MLflow: {', '.join(changed)}")
