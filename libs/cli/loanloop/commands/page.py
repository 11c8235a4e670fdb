"""`loanloop page`: the view in a browser."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from loanloop.options import DataDir


def page(
    data_dir: DataDir = Path(".loanloop"),
    host: Annotated[
        str, typer.Option(envvar="LOANLOOP_PAGE__HOST", help="Another than loopback needs --keys-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="LOANLOOP_PAGE__PORT", min=0, max=65535, help="0: any free one.")] = 8080,
    keys_file: Annotated[
        Path | None,
        typer.Option(
            envvar="LOANLOOP_PREDICTOR__KEYS_FILE", help="Of `loanloop keys`: who comes needs a key, any role will do."
        ),
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks, while somebody watches.")] = 3.0,
) -> None:
    """What `loanloop watch` shows, as one page in a browser, until Ctrl-C. It only looks.

    A browser asks for a name and a password: the name is any, the password is the key.

    **Examples**

    - `loanloop page`, then open http://127.0.0.1:8080
    - `loanloop page --data-dir .loanloop/demo`, in a second terminal while the demo runs
    - `loanloop page --host 0.0.0.0 --keys-file keys`
    """
    from loanloop_common.telemetry import set_up_logging

    from loanloop.page.serving import serve_page
    from loanloop.runtime.foreground import until_signalled
    from loanloop.target import find_target

    settings = find_target(data_dir).settings
    set_up_logging("page", log_format=settings.log_format, level=settings.log_level)

    def ready(url: str) -> None:
        print(f"The page is at {url}; Ctrl-C ends it.", flush=True)

    work = serve_page(data_dir, host=host, port=port, keys_file=keys_file, every_s=every, ready=ready)
    asyncio.run(until_signalled(work))
