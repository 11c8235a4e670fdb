"""ONNX Runtime, which the benchmarks measure by, reports nothing to its makers."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_onnx_runtime_names_no_machine_in_a_file(tmp_path: Path) -> None:
    """1.32 does as soon as it is imported, and then sends it."""
    places = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}

    subprocess.run([sys.executable, "-c", "import bench, onnxruntime"], cwd=ROOT, env=places, check=True)

    assert not [*tmp_path.iterdir()]
