"""What a test asks the database; reads only."""

from uuid import UUID

import asyncpg

IS_STORED = "SELECT EXISTS (SELECT FROM loan_data.event_keys WHERE event_id = $1)"


async def fetch_is_stored(dsn: str, event_id: UUID) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        stored: bool = await connection.fetchval(IS_STORED, event_id)
    finally:
        await connection.close()
    return stored
