"""Training: rows a second beside a plain eager loop and peers; growth with the number of loans; reading them.

The race is of one network, one batch size, one order of loans: the classifier of the preset `sba`, two epochs that pass
each loan once (`min_steps = 0`), neither pretraining nor refit; shipped and eager loops take as many steps and validate
as often. Contestants take turns, peers too; each is given its best of the rounds. The eager loops and the peers run
with one thread and with all, and the better one is what a ratio is taken to. Pretraining's speed is measured apart.
"""

import asyncio
import statistics
from dataclasses import dataclass, replace
from typing import Any

from loanloop_common.resources import SAMPLE

from bench import training_growth, training_read
from bench.eager import WARM_UP_STEPS
from bench.machine import cores, gpu
from bench.registry import Options
from bench.result import Found, Goal, Row
from bench.training_loans import loans, n_distinct, portfolio
from bench.training_race import Peer, eager, parts_of, peer, shipped

TITLE = "training beside an eager loop and peers, its growth, its reading"
PEERS = ("pytorch_tabular", "tab_transformer_pytorch")
MODEL: dict[str, Any] = {"epochs": 2, "patience": 2, "pretrain_epochs": 0, "min_steps": 0, "refit": False}
PRETRAINING: dict[str, Any] = {"epochs": 1, "pretrain_epochs": 1, "min_steps": 0, "refit": False}
# What is shipped takes a GPU where there is one; eager loop and peers are given the processor's threads.
ON_GPU = "a GPU learns here, the eager loop does not"
# Two trainings that differ in nothing but their seed differ by as much.
SAME_QUALITY = 0.01


def best(rows: list[Row]) -> Row:
    """Of one contestant: the highest speed of all rounds, and the mean of its figure of quality."""
    speeds = [row["rows_per_s"] for row in rows if row["rows_per_s"] is not None]
    scores = [row["roc_auc"] for row in rows if row.get("roc_auc") is not None]
    kept = {name: value for name, value in rows[0].items() if name != "note"} if speeds else rows[0]
    return {**kept, "rows_per_s": max(speeds, default=None), "roc_auc": statistics.mean(scores) if scores else None}


@dataclass(frozen=True)
class Raced:
    ours: list[Row]
    eagers: list[Row]
    peers: list[Row]


def race(n: int, rounds: int, seconds: float, options: Options) -> Raced:
    """`seconds`: of a peer in a round."""
    data = loans(n, options.loans or SAMPLE)
    parts, all_threads = parts_of(data), sorted({1, cores()})
    racing = [Peer(name, same) for name in PEERS for same in ((True, False) if options.long else (True,))]
    rows: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for seed in range(1, rounds + 1):
        ours = (shipped(data, processes=p, threads=t, seed=seed, **MODEL) for p, t in spreads(cores()))
        eagers = (eager(parts, threads=t, seed=seed, **MODEL) for t in all_threads)
        peers = (
            peer(one, parts, options.say, threads=t, seed=seed, seconds=seconds) for one in racing for t in all_threads
        )
        for kept, running in zip(rows, (ours, eagers, peers), strict=True):
            for row in running:
                options.say(f"round {seed}: {row['what']}: {row['rows_per_s'] or row.get('note')} rows/s")
                kept.append(row)
    return Raced(*map(best_of_each, rows))


def spreads(n_cores: int) -> list[tuple[int, int]]:
    """Processes, and threads of each: all of one or all of the other, which on one core is the same."""
    return [*dict.fromkeys([(n_cores, 1), (1, n_cores)])]


def best_of_each(rows: list[Row]) -> list[Row]:
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["what"], []).append(row)
    return [best(each) for each in by_name.values()]


def pretrained(n: int, options: Options) -> Row:
    data = loans(n, options.loans or SAMPLE)
    row = shipped(data, processes=cores(), threads=1, seed=1, **PRETRAINING)
    return {"what": f"{row['what']}, pretraining", "rows_per_s": row["pretraining_rows_per_s"]}


def race_goals(raced: Raced, *, not_judged: str | None = None) -> list[Goal]:
    fastest = max(row["rows_per_s"] for row in raced.ours)
    eager_speed = max(row["rows_per_s"] for row in raced.eagers)
    reached = [row["roc_auc"] for row in raced.eagers if row["roc_auc"] is not None]
    worse = max(reached) - min(row["roc_auc"] for row in raced.ours) if reached else None
    goals = [
        Goal("rows/s of the classifier / eager loop", fastest / eager_speed, 2.0),
        Goal("ROC-AUC lost against the eager loop after as many steps", worse, SAME_QUALITY, "<="),
    ]
    for name in dict.fromkeys(row["peer"] for row in raced.peers if "as many tokens" in row["peer"]):
        speed = max((row["rows_per_s"] or 0.0 for row in raced.peers if row["peer"] == name), default=0.0)
        goals.append(Goal(f"rows/s / {name}", fastest / speed if speed else None, 2.0))
    return [replace(goal, not_judged=not_judged) for goal in goals]


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
    steps = [
        (after["peak_mib"] - before["peak_mib"]) / (more - fewer)
        for before, after, fewer, more in zip(rows, rows[1:], sizes, sizes[1:], strict=False)
    ]
    return rows, [
        Goal(f"seconds a loan, {sizes[-1]:,} / {sizes[0]:,} loans", last["ms_a_loan"] / first["ms_a_loan"], 1.3, "<="),
        Goal("memory of each further loan, last / first step", growth_of_steps(steps[0], steps[-1]), 1.3, "<="),
    ]


def growth_of_steps(first: float, last: float) -> float | None:
    """None where a larger training had no higher peak: then chance was larger than what is measured."""
    return last / first if first > 0 and last > 0 else None


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
    raced = race(n_race, rounds, seconds, options)
    pretraining = pretrained(n_race, options)
    read_rows, read_goals = reading(n_read, options)
    grown, growth_goals = growth(sizes, pretrain_epochs=int(options.long), options=options)
    sizes_said = {
        "race_loans": n_race, "rounds": rounds, "batch": portfolio().model.batch_size, "epochs": MODEL["epochs"],
        "read_loans": n_read, "warm_up_steps": WARM_UP_STEPS, "preset": "sba",
        "distinct_loans": n_distinct(options.loans or SAMPLE),
    }  # fmt: skip
    return Found(
        goals=(*race_goals(raced, not_judged=ON_GPU if gpu() else None), *growth_goals, *read_goals),
        rows=[*raced.ours, pretraining, *raced.eagers, *raced.peers, *grown, *read_rows],
        sizes=sizes_said,
        peers=PEERS,
        bars=("what", "rows_per_s"),
        notes=(
            "`loanloop, P x T`: P processes of T threads. Its rows/s and the eager loop's include validation after "
            "each epoch, its own the first steps besides; peers' are of their training batches alone.",
            "An eager loop that has not done all steps in 45 s shows the speed that it had until then.",
            "Growth: on threads of one process; memory is what the training takes beside the loans it is given.",
            "tab-transformer-pytorch's feed-forward is four times the width and gated, which can't be set.",
        ),
    )
