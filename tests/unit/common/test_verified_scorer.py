"""What a stored bundle must show before anyone serves it, judges it or replays with it."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from loanloop_common.bundle import Manifest, pack, unpack
from loanloop_common.errors import BundleCorrupt
from loanloop_common.features import Floats
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.scoring import CHUNK_ROWS, Scorer
from loanloop_common.verified_scorer import fault_of, load_verified

from tests.support.bundles import make_bundle

PORTFOLIO = load_portfolio("sba")
CODEC = LoanCodec(PORTFOLIO)


def bundle_with(**changes: Any) -> bytes:
    bundle = unpack(make_bundle())
    return pack(bundle.manifest.model_copy(update=changes), bundle.encoder, bundle.model)


def lying_reference() -> Any:
    manifest: Manifest = unpack(make_bundle()).manifest
    wrong = [p * 0.9 for p in manifest.reference.probabilities]
    return manifest.reference.model_copy(update={"probabilities": wrong})


def changed(change: Callable[[Any, Any], object]) -> bytes:
    """The bundle with its encoder and manifest, as JSON, changed in place; its inner hashes are right again."""
    with zipfile.ZipFile(io.BytesIO(make_bundle())) as old:
        files = {name: old.read(name) for name in old.namelist()}
    encoder, manifest = (json.loads(files[name]) for name in ("encoder.json", "manifest.json"))
    change(encoder, manifest)
    files["encoder.json"] = json.dumps(encoder).encode()
    manifest["sha256"]["encoder.json"] = hashlib.sha256(files["encoder.json"]).hexdigest()
    files["manifest.json"] = json.dumps(manifest).encode()
    return zipped(files)


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, content in files.items():
            new.writestr(name, content)
    return buffer.getvalue()


def bundle_with_encoder(content: bytes) -> bytes:
    bundle = unpack(make_bundle())
    manifest = bundle.manifest.model_dump(mode="json")
    manifest["sha256"]["encoder.json"] = hashlib.sha256(content).hexdigest()
    return zipped({"manifest.json": json.dumps(manifest).encode(), "encoder.json": content, "model.onnx": bundle.model})


def with_tensor_of(*shape: int) -> bytes:
    """The bundle whose graph adds to its scores the smallest of so many numbers, which is zero."""
    bundle = unpack(make_bundle())
    network = onnx.load_model_from_string(bundle.model)
    output = network.graph.output[0].name
    for node in network.graph.node:
        node.output[:] = ["scores" if name == output else name for name in node.output]
    network.graph.initializer.extend(
        [
            onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [len(shape)], shape),
            onnx.helper.make_tensor("nothing", onnx.TensorProto.FLOAT, [], [0.0]),
        ]
    )
    network.graph.node.extend(
        [
            onnx.helper.make_node("Expand", ["nothing", "shape"], ["zeros"]),
            onnx.helper.make_node("ReduceMin", ["zeros"], ["zero"], keepdims=0),
            onnx.helper.make_node("Add", ["scores", "zero"], [output]),
        ]
    )
    return pack(bundle.manifest, bundle.encoder, network.SerializeToString())


def loaded(data: bytes, *, sha256: bytes | None = None) -> Scorer:
    return load_verified(data, sha256 or hashlib.sha256(data).digest(), version="v1", portfolio=PORTFOLIO, threads=2)


def test_the_trainers_bundle_scores() -> None:
    scorer = loaded(make_bundle())

    (probability,) = scorer.score_features([CODEC.convert(CODEC.example()).features])

    assert 0 < probability < 1
    scorer.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda: make_bundle()[:5000], "cut short"),
        (lambda: bundle_with(version="v2"), "of version v2"),
        (lambda: bundle_with(portfolio="cars"), "for portfolio cars"),
        (lambda: bundle_with(schema_hash="x"), "other features"),
        (lambda: bundle_with(reference=lying_reference()), "reference rows .* off"),
    ],
)
def test_a_bundle_that_is_not_what_it_is_stored_as_is_refused(data: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(BundleCorrupt, match=reason):
        loaded(data())


BROKEN: dict[str, tuple[Callable[[Any, Any], object], str]] = {
    "no reference": (
        lambda _, m: m["reference"].update(x_cat=[], x_num=[], x_exact=[], probabilities=[]),
        "no reference rows",
    ),
    "fewer reference rows": (lambda _, m: m["reference"]["x_num"].pop(), "x_num is not"),
    "a short reference row": (lambda _, m: m["reference"]["x_cat"][0].pop(), "x_cat is not"),
    "a reference index that is none": (lambda _, m: m["reference"]["x_cat"][0].__setitem__(0, 2**70), "reference"),
    "a reference without a number": (lambda _, m: m["reference"]["x_num"][0].__setitem__(0, float("nan")), "finite"),
    "a calibration without end": (lambda _, m: m["calibration"].update(slope=float("inf")), "calibration.slope"),
    "an unknown feature": (lambda e, _: e["categories"][0].update(name="shoe_size"), "reads other features"),
    "a category as number": (lambda e, _: e["numbers"][0].update(name="state"), "reads other features"),
    "an unknown source": (lambda e, _: e["derived"][0].update(of=["shoe_size"]), "reads other features"),
    "one input less": (lambda e, _: e["numbers"].pop(), "x_num is not"),
    "a list as value": (lambda e, _: e["categories"][0]["values"].append(["a"]), "categories.0.values"),
    "a text as deviation": (lambda e, _: e["numbers"][0].update(std="wide"), "numbers.0.std"),
    "no deviation": (lambda e, _: e["numbers"][0].update(std=0), "numbers.0.std"),
    "a text as exact value": (lambda e, _: e["numbers"][0].update(exact=["84"]), "numbers.0.exact.0"),
    "a text as flag": (lambda e, _: e["numbers"][0].update(log="yes"), "numbers.0.log"),
    "an unknown key": (lambda e, _: e["numbers"][0].update(median=1), "numbers.0.median"),
    "no categories": (lambda e, _: e.pop("categories"), "categories"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_bundle_whose_parts_are_wrong_though_its_hashes_are_right_is_refused(fault: str) -> None:
    change, reason = BROKEN[fault]
    assert loaded(changed(lambda _, __: None)).self_test() == 0.0

    with pytest.raises(BundleCorrupt, match=f"^bundle v1: .*{reason}"):
        loaded(changed(change))


def test_a_bundle_nested_too_deeply_is_refused() -> None:
    deep = json.dumps({"format": 1, "categories": "here"}).replace('"here"', "[" * 100_000 + "]" * 100_000).encode()
    data = bundle_with_encoder(deep)

    with pytest.raises(BundleCorrupt, match="unreadable content"):
        loaded(data)


def test_a_graph_that_asks_for_more_memory_than_any_machine_has_is_refused_not_tried_again() -> None:
    loaded(with_tensor_of(4, 4)).close()

    with pytest.raises(BundleCorrupt, match="asks for a tensor of"):
        loaded(with_tensor_of(2**20, 2**20))


def test_what_the_first_loan_makes_the_encoder_raise_is_the_bundles_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Floats:
        raise AttributeError("no such feature")

    monkeypatch.setattr(Scorer, "score_features", fails)

    with pytest.raises(BundleCorrupt, match="can't score a loan: no such feature"):
        loaded(make_bundle())


def test_other_bytes_than_those_that_were_stored_are_refused() -> None:
    with pytest.raises(BundleCorrupt, match="SHA-256"):
        loaded(make_bundle(), sha256=bytes(32))


def alike(rows: Sequence[Any]) -> Floats:
    return np.full(len(rows), 0.25)


def by_size(rows: Sequence[Any]) -> Floats:
    return np.full(len(rows), 0.25 if len(rows) <= CHUNK_ROWS else np.nextafter(0.25, 1))


def by_place(rows: Sequence[Any]) -> Floats:
    return np.where(np.arange(len(rows)) == CHUNK_ROWS - 1, 0.5, 0.25)


@pytest.mark.parametrize(
    ("score", "fault"),
    [
        (by_size, f"batch of {2 * CHUNK_ROWS + 1}"),
        (by_place, f"batch of {CHUNK_ROWS}"),
        (lambda rows: np.full(len(rows), np.nan), "nan is no probability"),
        (lambda rows: np.full(len(rows), 1.5), "1.5 is no probability"),
    ],
)
def test_a_score_that_is_no_probability_or_depends_on_the_batch_is_a_fault(
    score: Callable[[Sequence[Any]], Floats], fault: str
) -> None:
    assert fault_of(alike, CODEC) is None
    assert fault in (fault_of(score, CODEC) or "")
