"""Users of the database beside its owner, for tests of what a role may do."""

from urllib.parse import urlsplit, urlunsplit

import asyncpg
from loanloop_common.postgres import grant_roles

PASSWORD = "a password for tests"


async def make_user(connection: asyncpg.Connection, name: str, *roles: str) -> None:
    """Users belong to the whole server: one that is there is taken as it is."""
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name):
        await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    for role in roles:
        await connection.execute(f"GRANT {role} TO {name}")


def as_user(dsn: str, name: str) -> str:
    parts = urlsplit(dsn)
    password = PASSWORD.replace(" ", "%20")
    return urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}"))


async def dsn_of_reader(owner: str) -> str:
    """Of a user that may only read, as Grafana's and the page's."""
    await grant_roles(owner)
    connection = await asyncpg.connect(owner)
    await make_user(connection, "as_reader", "loanloop_reader")
    await connection.close()
    return as_user(owner, "as_reader")
