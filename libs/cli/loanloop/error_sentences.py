"""What a command meets outside of this process, said in one sentence."""

import asyncpg
from aiokafka.errors import KafkaError
from loanloop_common.errors import LoanloopError, in_one_line
from loanloop_common.postgres import AWAY

MISFORTUNES = (LoanloopError, asyncpg.PostgresError, asyncpg.InterfaceError, KafkaError, OSError)
_DATABASE_AWAY = (*AWAY, asyncpg.InterfaceError)


def sentence_of(error: Exception) -> str | None:
    """None for what is a mistake of ours."""
    if not isinstance(error, MISFORTUNES):
        return None
    if isinstance(error, (*_DATABASE_AWAY, KafkaError)):
        return f"{outlived(error)}: see `loanloop status`, and run the command again."
    return outlived(error)


def outlived(error: Exception) -> str:
    """Of MISFORTUNES, for a loop that tries again by itself: it says no more than what has happened."""
    if isinstance(error, LoanloopError):
        return str(error)
    if isinstance(error, _DATABASE_AWAY):
        return f"the database went away ({in_one_line(error)})"
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return (
            f"the database refused: {in_one_line(error)}. LOANLOOP_POSTGRES__DSN must name a login that may: the owner "
            "for migrate and restore, one with the role loanloop_backup for backup, loanloop_operator for the others."
        )
    if isinstance(error, asyncpg.PostgresError):
        return f"the database refused: {in_one_line(error)}"
    if isinstance(error, KafkaError):
        return f"Kafka does not do it ({in_one_line(error)})"
    return in_one_line(error)
