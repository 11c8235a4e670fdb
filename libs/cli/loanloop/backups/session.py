"""The session of a backup or a restore: its settings are part of the format that is written and read."""

import asyncpg
from loanloop_common.errors import AccessRefused, Unavailable, in_one_line
from loanloop_common.postgres import UNREACHABLE
from loanloop_common.unusable_dsn import NO_ADDRESS, unusable_address

# It takes as long as it takes, and text means the same wherever it is read again.
SESSION = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


async def connect(dsn: str, *, application_name: str) -> asyncpg.Connection:
    """Raises Unavailable, or AccessRefused where `dsn` names no address that can be."""
    settings = SESSION | {"application_name": f"loanloop-{application_name}"}
    try:
        return await asyncpg.connect(dsn, timeout=10, server_settings=settings)
    except (*UNREACHABLE, *NO_ADDRESS, asyncpg.PostgresError) as cause:
        if unusable := unusable_address(cause):
            raise AccessRefused(f"{unusable}.") from cause
        raise Unavailable(
            f"PostgreSQL does not take the connection ({in_one_line(cause)}): LOANLOOP_POSTGRES__DSN says where it is "
            "and who logs in."
        ) from cause
