"""Entry point of the child process."""

import asyncio
import logging
import os
import sys
from uuid import UUID

from loanloop_common.garbage_collection import spare_collector
from loanloop_common.telemetry import set_up_logging
from setproctitle import setproctitle

from loanloop_trainer.runner.lifeline import Lifeline
from loanloop_trainer.runner.orders import Orders
from loanloop_trainer.runner.process import read_orders


def main() -> int:
    run_id = UUID(sys.argv[1])
    orders = read_orders(Orders)
    lifeline = Lifeline.on_standard_output()
    lifeline.beat_while_starting()
    os.nice(orders.niceness)
    setproctitle(f"loanloop-training {run_id}")
    set_up_logging("trainer", log_format=orders.log_format, level=orders.log_level)
    for library in ("onnx_ir", "onnxscript"):  # they tell of every node of the graph
        logging.getLogger(library).setLevel(logging.WARNING)
    with lifeline.saying_why():
        # Imported after the tie to the parent is made: torch takes seconds.
        from loanloop_trainer.runner.training import work_on  # noqa: PLC0415

        spare_collector()
        return asyncio.run(work_on(run_id, orders, lifeline))


if __name__ == "__main__":
    sys.exit(main())
