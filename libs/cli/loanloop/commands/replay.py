"""`loanloop replay`: a stored decision once more, to show that it can be explained and repeated."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from loanloop.options import DataDir

if TYPE_CHECKING:
    from loanloop_predictor.serving.replay import Replay


def replay(
    decision_id: Annotated[UUID, typer.Argument(help="From loan.scored, or from an answer of /predict.")],
    data_dir: DataDir = Path(".loanloop"),
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Score a stored decision again with its own features and its own version, and compare the bits.

    The exit code is 1 where they differ: on the engine that decided (OpenVINO, NumPy, instruction set), in any
    bit; elsewhere, by more than 1e-6.

    **Examples**

    - `loanloop replay 0198f0c2-7d1e-7c3a-9b55-0a4be1c7d2f3`
    - `loanloop replay 0198f0c2-7d1e-7c3a-9b55-0a4be1c7d2f3 --json`
    """
    replayed = asyncio.run(_replay(data_dir, decision_id))
    if json:
        import msgspec

        print(msgspec.json.encode(_as_json(replayed)).decode())
    else:
        _show(replayed)
    if not replayed.as_promised:
        raise typer.Exit(1)


async def _replay(data_dir: Path, decision_id: UUID) -> "Replay":
    from loanloop_predictor.serving.replay import replay_decision
    from loanloop_predictor.store.decisions import DecisionStore
    from loanloop_predictor.store.models import ModelStore

    from loanloop.operating import operated

    async with operated(data_dir, read_only=True) as operating:
        decisions, models = DecisionStore(operating.pool), ModelStore(operating.pool)
        return await replay_decision(decisions, models, operating.portfolio, decision_id)


def _as_json(replayed: "Replay") -> dict[str, Any]:
    import msgspec

    stored = replayed.stored.decision
    return {
        "decision_id": stored.decision_id,
        "loan_id": stored.loan_id,
        "version": stored.version,
        "decided_at": replayed.stored.decided_at,
        "features": msgspec.Raw(stored.features.encode()),
        "threshold": stored.threshold,
        "stored": {"probability": stored.probability, "decision": stored.decision, "engine": stored.engine},
        "again": {"probability": replayed.probability, "decision": replayed.decision, "engine": replayed.engine},
        "same_bits": replayed.same_bits,
        "same_engine": replayed.same_engine,
        "difference": replayed.difference,
        "as_promised": replayed.as_promised,
    }


def _show(replayed: "Replay") -> None:
    from rich.console import Console
    from rich.table import Table

    stored = replayed.stored.decision
    table = Table("", "stored", "again", title=f"decision {stored.decision_id}", title_justify="left")
    table.add_row("probability of default", repr(stored.probability), repr(replayed.probability))
    table.add_row("its bits", stored.probability.hex(), replayed.probability.hex())
    table.add_row("decision", stored.decision, replayed.decision)
    table.add_row("engine", stored.engine, replayed.engine)
    console = Console()
    console.print(
        f"Loan {stored.loan_id}, decided {replayed.stored.decided_at:%Y-%m-%d %H:%M:%S} UTC by {stored.version} "
        f"({stored.channel}), threshold {stored.threshold:.4f}"
    )
    console.print(table)
    console.print(f"Features: {stored.features}", markup=False, highlight=False)
    console.print(_conclusion(replayed))


def _conclusion(replayed: "Replay") -> str:
    bits = "the same bits" if replayed.same_bits else f"NOT the same bits, {replayed.difference:.2g} apart"
    where = "the same engine" if replayed.same_engine else "another engine (up to 1e-6 apart is expected)"
    return f"{bits[0].upper()}{bits[1:]}, on {where}."
