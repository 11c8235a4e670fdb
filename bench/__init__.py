"""Benchmarks: each figure is a ratio to a limit or a peer, taken in the same run. `loanloop bench` runs them."""
