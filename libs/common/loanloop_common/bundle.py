"""A model version as one file: `model.onnx`, `encoder.json`, `manifest.json` in a stored zip. Nothing is unpickled."""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from loanloop_common.errors import BundleCorrupt
from loanloop_common.features import EncodedBatch, Encoder, Floats

MAX_BUNDLE_BYTES = 256 * 2**20
MODEL, ENCODER, MANIFEST = "model.onnx", "encoder.json", "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
# What a file's own content makes Python's code raise, today as tomorrow; want of memory is none of it.
OF_CONTENT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
_LARGEST_ID = 2**31


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Calibration(_Part):
    """Platt's: the probability is the logistic function of slope · logit + intercept."""

    kind: Literal["platt"] = "platt"
    slope: float = Field(gt=0)
    intercept: float

    def probabilities(self, log_odds: Floats) -> Floats:
        """Strictly in float64 and element by element, so equal log-odds give equal bits in any batch."""
        return np.asarray(1.0 / (1.0 + np.exp(-(self.slope * log_odds + self.intercept))), np.float64)


@overload
def declines(probability: float, threshold: float) -> bool: ...
@overload
def declines(probability: Floats, threshold: float) -> npt.NDArray[np.bool_]: ...
def declines(probability: float | Floats, threshold: float) -> bool | npt.NDArray[np.bool_]:
    """Decline from the threshold on: one probability of default, or each of an array."""
    return probability >= threshold


def are_probabilities(values: Floats) -> npt.NDArray[np.bool_]:
    """Of each; NaN, which `declines` would let pass, is none."""
    return (values >= 0) & (values <= 1)


class AllowedField(_Part):
    """A field known only after the decision that the portfolio allows all the same."""

    field: str
    reason: str


class AuditFinding(_Part):
    """How well one feature alone, out of time, tells the outcome."""

    feature: str
    roc_auc: float | None
    used: bool
    warning: str | None = None


class ReferenceRows(_Part):
    """Encoded rows with the probability that the trainer's export gave them."""

    x_cat: list[list[int]]
    x_num: list[list[float]]
    x_exact: list[list[int]]
    probabilities: list[float]

    @classmethod
    def of(cls, batch: EncodedBatch, probabilities: Floats) -> "ReferenceRows":
        return cls(
            x_cat=batch.x_cat.tolist(),
            x_num=batch.x_num.tolist(),
            x_exact=batch.x_exact.tolist(),
            probabilities=probabilities.tolist(),
        )

    def batch(self) -> EncodedBatch:
        x_num = np.array(self.x_num, np.float32)
        return EncodedBatch(np.array(self.x_cat, np.int64), x_num, np.array(self.x_exact, np.int64))

    def misfit(self, encoder: Encoder) -> str | None:
        """Why they are no rows of the encoder's to score; None where they are. An export has none yet."""
        n_rows = len(self.probabilities)
        if n_rows == 0:
            return "there are no reference rows"
        for part in ("x_cat", "x_num", "x_exact"):
            rows, width = getattr(self, part), len(encoder.categories if part == "x_cat" else encoder.numbers)
            if len(rows) != n_rows or any(len(row) != width for row in rows):
                return f"the reference's {part} is not {n_rows} rows of {width} values"
        if any(not 0 <= one < _LARGEST_ID for row in (*self.x_cat, *self.x_exact) for one in row):
            return "an index of the reference rows is none"
        return None


class Manifest(_Part):
    """What a version is, where it comes from and what it may be trusted with."""

    format: Literal[1] = 1
    version: str
    portfolio: str
    schema_hash: str
    features: tuple[str, ...]
    train_from: AwareDatetime
    train_to: AwareDatetime = Field(description="The last loan trained, validated or calibrated on")
    n_rows: int
    n_train: int
    n_validation: int = Field(description="The newest, which all was chosen by; with `refit` learnt after that")
    threshold: float = Field(ge=0, le=1)
    calibration: Calibration
    metric: str
    metrics: dict[str, float | None] = Field(description="On the validation rows, by a model that had not learnt them")
    seed: int
    kind: Literal["tabtransformer", "ensemble"] = "tabtransformer"
    weights: dict[str, float] = Field(default_factory=dict, description="Of the log-odds of an ensemble's models")
    hyperparameters: dict[str, Any]
    hyperparameters_from: str = Field(default="portfolio file", description="Or the search that found them")
    allowed: tuple[AllowedField, ...]
    audit: tuple[AuditFinding, ...]
    code_version: str
    runtime: dict[str, str] = Field(description="Versions of openvino, numpy and torch, and the instruction set")
    parity: float = Field(description="Largest difference of a logit between the trained models and the export")
    reference: ReferenceRows
    sha256: dict[str, str] = Field(default_factory=dict, description="Of the other files in the bundle")


@dataclass(frozen=True)
class Bundle:
    manifest: Manifest
    encoder: Encoder
    model: bytes
    sha256: str

    @property
    def version(self) -> str:
        return self.manifest.version


def pack(manifest: Manifest, encoder: Encoder, model: bytes) -> bytes:
    """The same content gives the same bytes."""
    encoder_json = _json(encoder.to_dict())
    hashes = {MODEL: _sha256(model), ENCODER: _sha256(encoder_json)}
    manifest_json = _json(manifest.model_copy(update={"sha256": hashes}).model_dump(mode="json"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in ((MANIFEST, manifest_json), (ENCODER, encoder_json), (MODEL, model)):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def unpack(data: bytes, expected_sha256: str | None = None, *, version: str = "(unnamed)") -> Bundle:
    """Raises BundleCorrupt on any doubt; `version` only names the bundle in that error."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleCorrupt(version, f"{len(data)} bytes, at most {MAX_BUNDLE_BYTES} are read")
    actual = _sha256(data)
    if expected_sha256 is not None and actual != expected_sha256:
        raise BundleCorrupt(version, f"SHA-256 is {actual}, {expected_sha256} was expected")
    files = _files(data, version)
    try:
        manifest = Manifest.model_validate_json(files[MANIFEST])
        for name in (MODEL, ENCODER):
            if manifest.sha256.get(name) != _sha256(files[name]):
                raise BundleCorrupt(version, f"{name} does not match the manifest")
        encoder = Encoder.from_dict(json.loads(files[ENCODER]))
    except OF_CONTENT as broken:
        raise BundleCorrupt(version, f"unreadable content: {_told(broken)}") from broken
    if fault := manifest.reference.misfit(encoder):
        raise BundleCorrupt(version, fault)
    return Bundle(manifest, encoder, files[MODEL], actual)


def _files(data: bytes, version: str) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if set(entries) != {MODEL, ENCODER, MANIFEST} or len(archive.infolist()) != len(entries):
                raise BundleCorrupt(version, f"holds {sorted(entries)}")
            # Stored, not deflated: nothing in it can be larger than the bundle itself.
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
                raise BundleCorrupt(version, "is compressed; bundles are stored")
            return {name: archive.read(entry) for name, entry in entries.items()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as broken:
        raise BundleCorrupt(version, f"is cut short or no bundle: {broken}") from broken


def _told(broken: Exception) -> str:
    if isinstance(broken, ValidationError):
        first = broken.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{broken.title} {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return repr(broken)


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, indent=1, allow_nan=False).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
