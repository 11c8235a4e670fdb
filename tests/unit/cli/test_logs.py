from pathlib import Path

import pytest
from loanloop.runtime.logs import new_log, why_ended

EARLIER = "ERROR of an earlier start\n"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "no output"),
        ("INFO starting\nINFO bye\n\n", "INFO bye"),
        ("FATAL:  could not bind\nLOG:  database system is shut down\n", "FATAL:  could not bind"),
        (
            "[main] ERROR Exiting (kafka.Kafka$)\njava.lang.RuntimeException: no lock\n\tat main\nINFO bye\n",
            "java.lang.RuntimeException: no lock",
        ),
        (
            "ERROR Error while writing meta.properties\njava.io.IOException: No space left on device\nINFO bye\n",
            "the disk is full: make room, or name a folder on another disk with --data-dir",
        ),
    ],
)
def test_end_is_explained_by_the_errors_of_this_start(tmp_path: Path, written: str, said: str) -> None:
    log = tmp_path / "kafka.log"
    log.write_text(EARLIER)
    start = new_log(log)
    log.write_text(EARLIER + written)

    assert why_ended(log, start) == said
