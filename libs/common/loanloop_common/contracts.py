"""The contracts on the wire, generated: JSON Schemas and asyncapi.json in contracts/.

`python -m loanloop_common.contracts` writes them, `--check` says what differs from the committed ones.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from loanloop_common.asyncapi import asyncapi_document
from loanloop_common.event_codec import REQUIRED_ON_THE_WIRE
from loanloop_common.events import EVENT_OF_TOPIC, Event, Topic
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.resources import resource_folder

PORTFOLIOS = ("sba", "sba_application")


def event_schema(topic: Topic) -> dict[str, Any]:
    """As readers check it: unknown fields are allowed, and ignored."""
    kind: type[Event] = EVENT_OF_TOPIC[topic]
    schema = kind.model_json_schema()
    schema["required"] = sorted({*schema["required"], *REQUIRED_ON_THE_WIRE}, key=list(schema["properties"]).index)
    schema["properties"]["schema_version"].pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{topic}.schema.json"} | schema


def loan_schema(portfolio: str) -> dict[str, Any]:
    """`loan.received` with the portfolio's own features."""
    schema = event_schema(Topic.LOAN_RECEIVED)
    schema["$id"] = f"portfolios/{portfolio}.loan.received.schema.json"
    schema["properties"]["features"] = LoanCodec(load_portfolio(portfolio)).json_schema()
    return schema


def generated() -> dict[str, str]:
    """File name below contracts/ → text."""
    files = {f"{topic}.schema.json": _json_text(event_schema(topic)) for topic in Topic}
    for portfolio in PORTFOLIOS:
        files[f"portfolios/{portfolio}.loan.received.schema.json"] = _json_text(loan_schema(portfolio))
    files["asyncapi.json"] = _json_text(asyncapi_document())
    return files


def differing(folder: Path) -> list[str]:
    """The names of generated files that are missing in `folder` or differ."""
    return [name for name, text in generated().items() if not _is(folder / name, text)]


def write(folder: Path) -> None:
    for name, text in generated().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _json_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write contracts/, or check that it is what the code says.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file differs")
    folder = resource_folder("contracts")
    if not parser.parse_args(arguments).check:
        write(folder)
        return 0
    if names := differing(folder):
        sys.stderr.write(f"contracts/ is out of date: {', '.join(names)}; run python -m loanloop_common.contracts\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
