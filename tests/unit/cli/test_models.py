"""What `loanloop models` says below its table."""

from typing import Any

from loanloop.commands.models import _remarks


def test_an_ensemble_is_named_with_the_shares_of_its_models() -> None:
    described: list[dict[str, Any]] = [
        {"version": "v1", "gate": None, "live": [], "manifest": {"kind": "tabtransformer", "weights": {}}},
        {"version": "v2", "gate": None, "live": [], "manifest": {"weights": {"network": 0.4, "boosting": 0.6}}},
    ]

    assert [*_remarks(described)] == ["v2 is an ensemble, its log-odds 40% network, 60% boosting"]
