"""A pytest plugin for those who produce loans: a running loanloop to test against (tests/integration/README.md).

`pytest_plugins = ["loanloop.testing"]` in the conftest.py at the top of one's tests; `pip install loanloop[testing]`.
"""

from loanloop.testing.plugin import Loanloop, loanloop, loanloop_portfolio, pytest_addoption

__all__ = ["Loanloop", "loanloop", "loanloop_portfolio", "pytest_addoption"]
