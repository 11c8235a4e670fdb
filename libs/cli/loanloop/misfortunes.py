"""What a command meets outside of this process, said in one sentence."""

import asyncpg
from aiokafka.errors import KafkaError
from loanloop_common.errors import LoanloopError, in_one_line
from loanloop_common.postgres import AWAY


def sentence_of(error: Exception) -> str | None:
    """None for what is a mistake of ours."""
    if isinstance(error, LoanloopError):
        return str(error)
    if isinstance(error, (*AWAY, asyncpg.InterfaceError)):
        return f"the database went away ({in_one_line(error)}): see `loanloop status`, and run the command again."
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return (
            f"the database refused: {in_one_line(error)}. LOANLOOP_POSTGRES__DSN must name a login that may: the owner "
            "for migrate, backup and restore, one with the role loanloop_operator for the other commands."
        )
    if isinstance(error, asyncpg.PostgresError):
        return f"the database refused: {in_one_line(error)}"
    if isinstance(error, KafkaError):
        return f"Kafka does not do it ({in_one_line(error)}): see `loanloop status`, and run the command again."
    return in_one_line(error) if isinstance(error, OSError) else None
