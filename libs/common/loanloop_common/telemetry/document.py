"""docs/metrics.md, generated: `python -m loanloop_common.telemetry.document` writes it, `--check` compares."""

import argparse
import sys
from pathlib import Path

from loanloop_common.telemetry.about import Who
from loanloop_common.telemetry.catalogue import CATALOGUE, type_of

_OPENING = """\
# Metrics

Written by `python -m loanloop_common.telemetry.document` from the lists in `libs/common/loanloop_common/telemetry`.

The predictor serves `GET /metrics` on its REST port. The other services serve `GET /metrics` and `GET /health` on
`LOANLOOP_TELEMETRY__HOST` (loopback) and `LOANLOOP_TELEMETRY__PORT` (0: any free one); `loanloop status` shows where.
`/health` answers 200 while every part of the service is at work, else 503, and names those that are not.
`GET /alive` is beside them, the predictor's too, open to everybody: 200 while the event loop turns, else no answer, or
503 once it has not turned for 30 s. That a server is away does not stop it: it says whether a restart can help.

Which service a series is of is told by its target: no metric has a label for it. `preset` is the portfolio's name. What
the evaluator reads from the database it reads every `LOANLOOP_EVALUATOR__FACTS_EVERY_S`; where several evaluators run,
each has all of it: take the `max`. Event time is the loans' own; every other time is the wall clock's.

Beside these there are the usual `process_*`, `python_info` and `python_gc_*`.
"""
_TITLES: dict[Who, str] = {
    "all": "Every service",
    "ingest": "ingest",
    "predictor": "predictor",
    "trainer": "trainer",
    "evaluator": "evaluator",
    "backup": "`loanloop backup --every`",
}


def metrics_document() -> str:
    sections = (f"## {title}\n\n{_table(who)}" for who, title in _TITLES.items())
    return "\n".join([_OPENING, *sections])


def _table(who: Who) -> str:
    rows = (
        f"| `{name}` | {type_of(name)} | {', '.join(about.labels)} | {about.meaning} |"
        for name, about in sorted(CATALOGUE.items())
        if about.who == who
    )
    return "\n".join(["| metric | type | labels | |", "|---|---|---|---|", *rows, ""])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write docs/metrics.md, or check that it is what the code says.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if it differs")
    page = Path(__file__).parents[4] / "docs" / "metrics.md"
    if not parser.parse_args(arguments).check:
        page.write_text(metrics_document(), encoding="utf-8")
        return 0
    if not page.is_file() or page.read_text(encoding="utf-8") != metrics_document():
        sys.stderr.write("docs/metrics.md is out of date; run python -m loanloop_common.telemetry.document\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
