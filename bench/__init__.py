"""Benchmarks: each figure is a ratio to a limit or a peer, taken in the same run. `loanloop bench` runs them."""

import os

# Before anyone imports it: ONNX Runtime would name this machine in a file and report to its makers. Who starts here
# inherits it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # noqa: TID251 - read by ONNX Runtime itself
