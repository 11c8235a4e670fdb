"""Bundles: the same content the same bytes, and no doubtful one is unpacked."""

import io
import zipfile

import numpy as np
import pytest
from loanloop_common.bundle import MAX_BUNDLE_BYTES, are_probabilities, pack, unpack
from loanloop_common.errors import BundleCorrupt

from tests.support.bundles import make_bundle


@pytest.fixture(scope="module")
def packed() -> bytes:
    return make_bundle()


def rezipped(data: bytes, *, compression: int = zipfile.ZIP_STORED, **changed: bytes) -> bytes:
    """The same archive with some files' content replaced; an empty one is left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            if content := changed.get(name.split(".")[0], old.read(name)):
                new.writestr(name, content)
    return buffer.getvalue()


def test_what_is_unpacked_packs_to_the_same_bytes(packed: bytes) -> None:
    bundle = unpack(packed)

    assert pack(bundle.manifest, bundle.encoder, bundle.model) == packed


def test_the_manifest_says_what_the_version_rests_on(packed: bytes) -> None:
    manifest = unpack(packed).manifest

    assert manifest.portfolio == "sba"
    assert [allowed.field for allowed in manifest.allowed] == ["term_months"]
    assert manifest.audit[0].feature == "term_months"
    assert manifest.train_from < manifest.train_to
    assert manifest.n_rows == manifest.n_train + manifest.n_validation
    assert manifest.parity <= 1e-4


def test_every_way_of_cutting_it_short_is_noticed(packed: bytes) -> None:
    expected = unpack(packed).sha256

    for length in (0, 1, 100, len(packed) // 2, len(packed) - 1):
        with pytest.raises(BundleCorrupt):
            unpack(packed[:length])
        with pytest.raises(BundleCorrupt, match="was expected"):
            unpack(packed[:length], expected)


def test_any_changed_byte_is_noticed_by_the_expected_hash(packed: bytes) -> None:
    expected = unpack(packed).sha256
    changed = bytearray(packed)
    changed[len(packed) // 2] ^= 1

    with pytest.raises(BundleCorrupt, match="was expected"):
        unpack(bytes(changed), expected)


def test_a_model_that_is_not_the_manifests_is_refused(packed: bytes) -> None:
    with pytest.raises(BundleCorrupt, match=r"model\.onnx does not match"):
        unpack(rezipped(packed, model=b"another"))


def test_an_encoder_that_is_not_the_manifests_is_refused(packed: bytes) -> None:
    with pytest.raises(BundleCorrupt, match=r"encoder\.json does not match"):
        unpack(rezipped(packed, encoder=b"{}"))


def test_a_manifest_that_says_too_little_is_refused(packed: bytes) -> None:
    with pytest.raises(BundleCorrupt, match="unreadable"):
        unpack(rezipped(packed, manifest=b"{}"))


def test_a_missing_file_is_refused(packed: bytes) -> None:
    with pytest.raises(BundleCorrupt, match="holds"):
        unpack(rezipped(packed, model=b""))


def test_a_compressed_bundle_is_refused_before_it_is_inflated(packed: bytes) -> None:
    bomb = rezipped(packed, compression=zipfile.ZIP_DEFLATED, model=b"\0" * 50_000_000)

    assert len(bomb) < 1_000_000
    with pytest.raises(BundleCorrupt, match="compressed"):
        unpack(bomb)


def test_a_bundle_over_the_limit_is_refused() -> None:
    with pytest.raises(BundleCorrupt, match="at most"):
        unpack(bytes(MAX_BUNDLE_BYTES + 1))


def test_the_error_names_the_version(packed: bytes) -> None:
    with pytest.raises(BundleCorrupt, match="bundle v7"):
        unpack(b"", version="v7")


def test_nan_and_what_lies_outside_nothing_and_certainty_are_no_probabilities() -> None:
    values = np.array([0.0, 1.0, 0.5, np.nan, np.inf, -np.inf, -1e-9, 1.0 + 1e-9])

    assert are_probabilities(values).tolist() == [True, True, True, False, False, False, False, False]
