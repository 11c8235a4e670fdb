"""What keeps an installation from running, said to the user in one sentence that tells what to do."""

from loanloop_common.errors import LoanloopError


class CannotRun(LoanloopError):
    """The message is one clear sentence for the user; nothing is left running."""
