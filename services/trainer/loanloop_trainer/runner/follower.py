"""Entry point of a process that learns along: `python -m loanloop_trainer.runner.follower`, started by the training."""

import os

from loanloop_common.telemetry import set_up_logging
from setproctitle import setproctitle

from loanloop_trainer.runner.orders import FollowerOrders
from loanloop_trainer.runner.process import read_orders


def main() -> None:
    orders = read_orders(FollowerOrders)
    os.nice(orders.niceness)
    setproctitle(f"loanloop-learning {orders.rank + 1} of {orders.n}")
    set_up_logging("trainer", log_format=orders.log_format, level=orders.log_level)
    # Imported after the tie to the parent is made: torch takes seconds.
    from loanloop_trainer.model import Ranks, follow  # noqa: PLC0415
    from loanloop_trainer.runner.reporting import end_undefined  # noqa: PLC0415

    ranks = Ranks.by_file(orders.file, rank=orders.rank, n=orders.n)
    with end_undefined() as on_progress:
        follow(ranks, threads=orders.threads, on_progress=on_progress)


if __name__ == "__main__":
    main()
