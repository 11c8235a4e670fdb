"""A program with an installation, to be killed by tests: `python -m tests.support.installation_program FOLDER`.

Prints its state as JSON when it is ready, then stays.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from loanloop.runtime.children import Command
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.ports import ANY_FREE


async def main(folder: Path) -> None:
    async with EmbeddedInfrastructure(folder, ports=ANY_FREE) as infrastructure:
        # A child that leaves a process in a session of its own, as a careless service might.
        careless = ["sh", "-c", "setsid sleep 600 & exec sleep 600"]
        await infrastructure.children.start(Command(argv=careless, log=infrastructure.log_of("careless"), cwd=folder))
        run = infrastructure.directory.read_run()
        assert run is not None
        print(json.dumps(asdict(run)), flush=True)  # noqa: T201 - read by the test
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
