"""Training: rows a second beside a plain eager loop and peers; growth with the number of loans; reading them.

The race is of one network, one batch size, one order of loans: the preset `sba`, pretraining and two epochs.
Contestants take turns; each is given its best of the rounds. The eager loops and the peers run with one thread and with
all, and the better one is what a ratio is taken to.
"""

import asyncio
import math
import statistics
from typing import Any

from loanloop_trainer.domain.split import split_by_day

from bench import training_growth, training_read
from bench.loans import SAMPLE
from bench.machine import cores
from bench.registry import Options
from bench.result import Found, Goal
from bench.training_loans import loans, portfolio
from bench.training_race import Row, Split, eager, peer, shipped

TITLE = "training: rows a second beside an eager loop and peers, growth, reading"
PEERS = ("pytorch_tabular", "tab_transformer_pytorch")
MODEL: dict[str, Any] = {"epochs": 2, "patience": 2, "pretrain_epochs": 1}
# Two trainings that differ in nothing but their seed differ by as much.
SAME_QUALITY = 0.01


def best(rows: list[Row]) -> Row:
    """Of one contestant: the highest speeds of all rounds, and the mean of its figure of quality."""
    kept = dict(rows[0])
    for name in ("rows_per_s", "pretraining_rows_per_s"):
        if name in kept:
            kept[name] = max((row[name] for row in rows if row[name] is not None), default=None)
    scores = [row["roc_auc"] for row in rows if row.get("roc_auc") is not None]
    return {**kept, "roc_auc": statistics.mean(scores) if scores else None}


def race(n: int, rounds: int, options: Options) -> tuple[list[Row], list[Row]]:
    """The shipped arrangements and the eager loops."""
    data = loans(n, options.loans or SAMPLE)
    split = split_by_day(data.occurred_at, validation_share=portfolio().model.validation_share)
    parts = Split(data.rows(split.train), data.rows(split.validation))
    ours: dict[str, list[Row]] = {}
    theirs: dict[str, list[Row]] = {}
    for seed in range(1, rounds + 1):
        for processes, threads in ((cores(), 1), (1, cores())):
            row, _ = shipped(data, processes=processes, threads=threads, seed=seed, **MODEL)
            ours.setdefault(row["what"], []).append(row)
            options.say(f"round {seed}: {row['what']}: {row['rows_per_s']:,.0f} rows/s")
        for threads in sorted({1, cores()}):
            row = eager(parts, threads=threads, seed=seed, **MODEL)
            theirs.setdefault(row["what"], []).append(row)
            options.say(f"round {seed}: {row['what']}: {row['rows_per_s']:,.0f} rows/s")
    return [best(rows) for rows in ours.values()], [best(rows) for rows in theirs.values()]


def raced_peers(n: int, seconds: float, options: Options) -> list[Row]:
    data = loans(n, options.loans or SAMPLE)
    split = split_by_day(data.occurred_at, validation_share=portfolio().model.validation_share)
    parts = Split(data.rows(split.train), data.rows(split.validation))
    rows = []
    for name in PEERS:
        for same_tokens in (True, False) if options.long else (True,):
            rows.append(peer(name, parts, options.say, seconds=seconds, same_tokens=same_tokens))
            options.say(f"{rows[-1]['what']}: {rows[-1]['rows_per_s']}")
    return rows


def race_goals(ours: list[Row], eagers: list[Row], peers: list[Row]) -> list[Goal]:
    fastest = max(row["rows_per_s"] for row in ours)
    eager_speed = max(row["rows_per_s"] for row in eagers)
    reached = [row["roc_auc"] for row in eagers if row["roc_auc"] is not None]
    worse = max(reached) - min(row["roc_auc"] for row in ours) if reached else None
    goals = [
        Goal("rows/s of the classifier / eager loop", fastest / eager_speed, 2.0),
        Goal("ROC-AUC lost against the eager loop after as many steps", worse, SAME_QUALITY, "<="),
    ]
    for row in peers:
        if "as many tokens" in row["what"]:
            speed = row["rows_per_s"]
            goals.append(Goal(f"rows/s / {row['what']}", fastest / speed if speed else None, 2.0))
    return goals


def growth(sizes: tuple[int, ...], *, pretrain_epochs: int, options: Options) -> tuple[list[Row], list[Goal]]:
    rows: list[Row] = []
    for n in sizes:
        found = training_growth.measured(n, options.loans or SAMPLE, pretrain_epochs=pretrain_epochs)
        options.say(f"{n:,} loans: {found['seconds']:.1f} s, {found['peak_bytes'] / 2**20:,.0f} MiB")
        rows.append(
            {
                "what": f"training of {n:,} loans", "seconds": found["seconds"],
                "ms_a_loan": found["seconds"] / n * 1e3, "peak_mib": found["peak_bytes"] / 2**20,
            }
        )  # fmt: skip
    first, last = rows[0], rows[-1]
    exponent = math.log(last["seconds"] / first["seconds"]) / math.log(sizes[-1] / sizes[0])
    steps = [
        (after["peak_mib"] - before["peak_mib"]) / (more - fewer)
        for before, after, fewer, more in zip(rows, rows[1:], sizes, sizes[1:], strict=False)
    ]
    return rows, [
        Goal(f"seconds a loan, {sizes[-1]:,} / {sizes[0]:,} loans", last["ms_a_loan"] / first["ms_a_loan"], 1.3, "<="),
        Goal("exponent of the time's growth", exponent, 1.15, "<="),
        Goal(
            "memory of each further loan, last / first step", steps[-1] / steps[0] if steps[0] > 0 else None, 1.3, "<="
        ),
    ]


def reading(n: int, options: Options) -> tuple[list[Row], list[Goal]]:
    found = asyncio.run(training_read.measure(n, options.loans or SAMPLE))
    options.say(f"read: {found}")
    ratio = found["copy_s"] / found["read_s"]
    rows = [
        {"what": "training set read", "rows_per_s": n / found["read_s"], "bytes_a_loan": found["data_bytes_a_loan"]},
        {"what": "bare COPY", "rows_per_s": n / found["copy_s"]},
    ]
    return rows, [
        Goal("reading / bare COPY of the same columns", ratio, 0.3),
        Goal("peak memory while reading / memory of what was read", found["peak_over_data"], 1.3, "<="),
    ]


def run(options: Options) -> Found:
    n_race, rounds, seconds = (60_000, 3, 20.0) if options.long else (16_000, 2, 6.0)
    sizes = (10_000, 100_000, 700_000) if options.long else (20_000, 60_000, 180_000)
    n_read = 700_000 if options.long else 90_000
    ours, eagers = race(n_race, rounds, options)
    peers = raced_peers(n_race, seconds, options)
    read_rows, read_goals = reading(n_read, options)
    grown, growth_goals = growth(sizes, pretrain_epochs=int(options.long), options=options)
    sizes_said = {
        "race_loans": n_race, "rounds": rounds, "batch": portfolio().model.batch_size, "epochs": MODEL["epochs"],
        "read_loans": n_read, "warm_up_steps": 10, "preset": "sba",
    }  # fmt: skip
    return Found(
        goals=(*race_goals(ours, eagers, peers), *growth_goals, *read_goals),
        rows=[*ours, *eagers, *peers, *grown, *read_rows],
        sizes=sizes_said,
        bars=("what", "rows_per_s"),
        notes=(
            "`loanloop, P x T`: P processes of T threads. Its rows/s include validation after each epoch.",
            "Growth: on threads of one process; memory is what the training takes beside the loans it is given.",
            "tab-transformer-pytorch's feed-forward is four times the width and gated, which can't be set.",
        ),
    )
