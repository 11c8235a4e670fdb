"""The scorer: the same bits whatever the batch and the threads."""

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from loanloop_common.bundle import Bundle, unpack
from loanloop_common.errors import BundleCorrupt, Unavailable
from loanloop_common.features import FIRST_VALUE, EncodedBatch, Floats
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.scoring import CHUNK_ROWS, Scorer, engine, instruction_set, runtime_version

from tests.support.bundles import make_bundle

N_ROWS = 2048
BATCH_SIZES = (1, 2, 3, 5, 8, 9, 56, 57, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 2047, 2048)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return unpack(make_bundle())


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Iterator[Scorer]:
    scorer = Scorer(bundle, threads=2)
    yield scorer
    scorer.close()


@pytest.fixture(scope="module")
def batch(bundle: Bundle) -> EncodedBatch:
    random = np.random.default_rng(0)
    categories = [random.integers(0, part.n_ids, N_ROWS) for part in bundle.encoder.categories]
    exact = [random.integers(0, part.n_ids, N_ROWS) for part in bundle.encoder.numbers]
    x_num = random.normal(size=(N_ROWS, len(exact))).astype(np.float32)
    return EncodedBatch(np.stack(categories, axis=1), x_num, np.stack(exact, axis=1))


@pytest.fixture(scope="module")
def expected(bundle: Bundle, batch: EncodedBatch) -> Iterator[Floats]:
    """By one thread, all rows at once."""
    alone = Scorer(bundle, threads=1)
    yield alone.score(batch)
    alone.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_bits_in_any_batch(
    bundle: Bundle, batch: EncodedBatch, expected: Floats, threads: int
) -> None:
    scorer = Scorer(bundle, threads=threads)

    for size in BATCH_SIZES:
        starts = range(0, min(N_ROWS, 4 * size), size)
        scored = np.concatenate([scorer.score(batch.rows(slice(start, start + size))) for start in starts])
        assert scored.tobytes() == expected[: len(scored)].tobytes(), size
    scorer.close()


def test_probabilities_are_strictly_between_nothing_and_certainty(scorer: Scorer, batch: EncodedBatch) -> None:
    probabilities = scorer.score(batch)

    assert probabilities.shape == (N_ROWS,)
    assert probabilities.dtype == np.float64
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert len(np.unique(probabilities)) > N_ROWS // 2


def test_an_empty_batch_has_no_probabilities(scorer: Scorer, batch: EncodedBatch) -> None:
    assert scorer.score(batch.rows(slice(0, 0))).shape == (0,)


def test_decoded_loans_score_as_their_encoding_does(bundle: Bundle, scorer: Scorer) -> None:
    codec = LoanCodec(load_portfolio("sba"))
    loans = [codec.convert(codec.example())] * 3
    columns = {name: [getattr(loan.features, name) for loan in loans] for name in bundle.encoder.sources}

    assert (
        scorer.score_features([loan.features for loan in loans]).tobytes()
        == scorer.score(bundle.encoder.encode_columns(columns)).tobytes()
    )


def test_the_reference_rows_score_as_the_trainer_said(scorer: Scorer) -> None:
    assert scorer.self_test() == 0.0


def test_a_bundle_that_scores_otherwise_than_its_reference_is_refused(bundle: Bundle) -> None:
    reference = bundle.manifest.reference
    lying = reference.model_copy(update={"probabilities": [p * 0.9 for p in reference.probabilities]})
    manifest = bundle.manifest.model_copy(update={"reference": lying})

    with pytest.raises(BundleCorrupt, match="off"):
        Scorer(dataclasses.replace(bundle, manifest=manifest)).self_test()


def test_a_model_that_does_not_fit_its_encoder_is_refused(bundle: Bundle) -> None:
    reference = bundle.manifest.reference
    outside = reference.model_copy(
        update={"x_cat": [[row[0] + FIRST_VALUE + 10**6, *row[1:]] for row in reference.x_cat]}
    )
    manifest = bundle.manifest.model_copy(update={"reference": outside})

    with pytest.raises(BundleCorrupt, match="off"):
        Scorer(dataclasses.replace(bundle, manifest=manifest)).self_test()


def test_a_model_of_another_number_of_inputs_is_refused(bundle: Bundle) -> None:
    fewer = dataclasses.replace(bundle.encoder, categories=bundle.encoder.categories[1:])

    with pytest.raises(BundleCorrupt, match="can't be loaded"):
        Scorer(dataclasses.replace(bundle, encoder=fewer))


def test_another_runtime_reads_the_same_file(bundle: Bundle, scorer: Scorer, batch: EncodedBatch) -> None:
    session = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, batch._asdict())

    np.testing.assert_allclose(scorer.log_odds(batch), logits[:, 1] - logits[:, 0], atol=1e-5)


class Watched(Scorer):
    """Notes the mark of each chunk that is scored, in order. None is finished before `may_go_on` is set."""

    def __init__(self, bundle: Bundle) -> None:
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()
        self.scored: list[float] = []
        super().__init__(bundle, threads=1)

    def _chunk_log_odds(self, chunk: EncodedBatch) -> Floats:
        self.scored.append(float(chunk.x_num[0, 0]))
        self.begun.set()
        assert self.may_go_on.wait(timeout=30)
        return super()._chunk_log_odds(chunk)


@pytest.fixture
def watched(bundle: Bundle) -> Iterator[Watched]:
    scorer = Watched(bundle)
    scorer.begun.clear()
    scorer.may_go_on.clear()
    scorer.scored.clear()
    yield scorer
    scorer.may_go_on.set()
    scorer.close()


def marked(batch: EncodedBatch, n_rows: int, mark: float) -> EncodedBatch:
    rows = batch.rows(slice(0, n_rows))
    return rows._replace(x_num=np.full_like(rows.x_num, mark))


def test_batches_at_the_same_time_take_turns(watched: Watched, batch: EncodedBatch) -> None:
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(watched.score, marked(batch, 20 * CHUNK_ROWS, 1.0))
        assert watched.begun.wait(timeout=30)
        middling = pool.submit(watched.score, marked(batch, 3 * CHUNK_ROWS, 2.0))
        while watched._pool._work_queue.qsize() < 3:  # one of the large batch, two of the other
            assert not middling.done()
        watched.may_go_on.set()
        middling.result(timeout=30)
        large.result(timeout=30)
    last_of_middling = max(n for n, mark in enumerate(watched.scored) if mark == 2.0)
    assert 1.0 in watched.scored[last_of_middling:]


def test_a_batch_of_one_chunk_waits_for_no_thread(watched: Watched, batch: EncodedBatch) -> None:
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(watched.score, marked(batch, 20 * CHUNK_ROWS, 1.0))
        assert watched.begun.wait(timeout=30)
        small = pool.submit(watched.score, marked(batch, CHUNK_ROWS, 2.0))
        while 2.0 not in watched.scored:
            assert not small.done()
        assert watched.scored == [1.0, 2.0]  # though the only thread is still at the first chunk
        watched.may_go_on.set()
        large.result(timeout=30)


USED_AT_ONCE = """
import sys, threading
from pathlib import Path
from loanloop_common.bundle import unpack
from loanloop_common.scoring import Scorer

sys.setswitchinterval(1e-6)
bundle, start = unpack(Path(sys.argv[1]).read_bytes()), threading.Barrier(4)

def use():
    start.wait()
    Scorer(bundle, threads=2).score(bundle.manifest.reference.batch().rows([0] * 400))

threads = [threading.Thread(target=use, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_first_uses_at_the_same_time_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Without the lock around them one process in five hung."""
    path = tmp_path / "v1.bundle"
    path.write_bytes(make_bundle())
    processes = [subprocess.Popen([sys.executable, "-c", USED_AT_ONCE, str(path)]) for _ in range(4)]

    try:
        assert [process.wait(timeout=50) for process in processes] == [0] * 4
    finally:
        for process in processes:
            process.kill()


def test_the_runtime_does_not_report_its_use(tmp_path: Path) -> None:
    (tmp_path / "openvino_telemetry.py").write_text("raise SystemExit('imported')")
    program = "import loanloop_common.scoring, sys; print(sys.modules['openvino_telemetry'])"
    environment = {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )

    assert (ended.stdout.strip(), ended.returncode) == ("None", 0), ended.stderr


def test_a_model_the_runtime_cannot_load_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleCorrupt, match="can't be loaded"):
        Scorer(dataclasses.replace(bundle, model=bundle.model[:1000]))


class Exhausted:
    """In the place of a session, or of what makes one: the machine has no room for it at the moment."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, *_: object, **__: object) -> None:
        raise self._error


PASSING = [
    MemoryError(),
    RuntimeError("pthread_create failed, error code: 11"),
    OSError(24, "Too many open files"),
    RuntimeError("Exception from src/inference/src/cpp/core.cpp:109:\nException from graph.cpp:1: std::bad_alloc"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_a_machine_without_room_does_not_make_a_bundle_corrupt(
    bundle: Bundle, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(bundle)
    monkeypatch.setattr(scorer, "_chunk_log_odds", Exhausted(error))
    with pytest.raises(Unavailable, match="for now"):
        scorer.self_test()
    scorer.close()

    monkeypatch.setattr("openvino.Core", Exhausted(error))
    with pytest.raises(Unavailable, match="for now"):
        Scorer(bundle)


def test_the_engine_names_all_that_computes_a_score() -> None:
    assert f"openvino {runtime_version()}" in engine()
    assert f"numpy {np.__version__}" in engine()
    assert instruction_set() in engine()
