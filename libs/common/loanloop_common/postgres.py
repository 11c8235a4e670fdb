"""PostgreSQL set-up: pools and migrations. Statements live in each service's store."""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import asyncpg
import msgspec
import psycopg
from yoyo import get_backend, read_migrations
from yoyo.backends import DatabaseBackend
from yoyo.connections import BadConnectionURI

from loanloop_common.errors import AccessRefused, LoanloopError, Unavailable, in_one_line
from loanloop_common.observed_connection import ObservedConnection
from loanloop_common.resources import resource_folder
from loanloop_common.unusable_dsn import NO_ADDRESS, unusable_address, unusable_tls_file

Pool = asyncpg.Pool
Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

# What only the database refuses of a message: data exceptions (22) and checks, which an operator may add; the driver
# raises the last two itself when it encodes a row for COPY. No other constraint can be broken by a message.
REFUSED_BY_DATABASE = (
    asyncpg.exceptions.DataError,
    asyncpg.exceptions.CheckViolationError,
    UnicodeEncodeError,
    OverflowError,
)

# The database is away, restarting or out of connections: a retry can help. Nothing else fails like that.
AWAY = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    asyncpg.exceptions.PostgresConnectionError,
    asyncpg.exceptions.CannotConnectNowError,
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CrashShutdownError,
    asyncpg.exceptions.InsufficientResourcesError,  # too many connections, no memory, a full disk
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # a former primary, until the address leads to the new one
)

# What else the way to the database raises. Around its own calls alone: elsewhere it is this machine's full disk, a port
# that is taken, a mistake.
UNREACHABLE = (*AWAY, OSError, asyncpg.exceptions.InterfaceError)


def lacks_partition(error: BaseException) -> bool:
    """The database refused a row for want of a partition to put it in, for which no row is to blame.

    PostgreSQL has no code of its own for that: it is a check violation (23514) that names no constraint.
    """
    return isinstance(error, asyncpg.exceptions.CheckViolationError) and error.constraint_name is None


_JSONB_VERSION = b"\x01"


async def _set_codecs(connection: Connection) -> None:
    """JSON as Python objects; what is JSON already goes in as `msgspec.Raw`. Binary, or COPY would not take them."""
    codecs: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
        "json": (msgspec.json.encode, msgspec.json.decode),
        "jsonb": (
            lambda value: _JSONB_VERSION + msgspec.json.encode(value),
            lambda data: msgspec.json.decode(data[len(_JSONB_VERSION) :]),
        ),
    }
    for name, (encoder, decoder) in codecs.items():
        await connection.set_type_codec(name, schema="pg_catalog", encoder=encoder, decoder=decoder, format="binary")


async def _leave_as_it_is(connection: Connection) -> None:
    """Instead of asyncpg's four statements at each release, a round trip that a lone request waits for.

    Nobody changes a session: no setting, lock or subscription outlives a transaction (`tests/unit/test_rules.py`). An
    open transaction is rolled back before.
    """


async def create_pool(dsn: str, *, application_name: str, max_size: int = 8) -> Pool:
    """A pool whose connections speak JSON as Python objects and UTC.

    Raises Unavailable, naming host and cause, when the server does not answer, AccessRefused when it turns us away or
    where a file that the DSN names for TLS is none.
    """
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=max_size,
            command_timeout=60,
            timeout=10,
            init=_set_codecs,
            connection_class=ObservedConnection,
            reset=_leave_as_it_is,
            server_settings={"application_name": f"loanloop-{application_name}", "timezone": "UTC"},
        )
    except (*UNREACHABLE, *NO_ADDRESS, asyncpg.PostgresError) as cause:
        raise _why_no_connection(cause, dsn) from cause


def _why_no_connection(cause: Exception, dsn: str) -> LoanloopError:
    if unusable := unusable_address(cause):
        return AccessRefused(unusable)
    match cause:
        case asyncpg.InvalidAuthorizationSpecificationError():
            return AccessRefused(f"PostgreSQL does not let us in ({in_one_line(cause)}); set LOANLOOP_POSTGRES__DSN")
        case ssl.SSLCertVerificationError():
            return AccessRefused(
                f"PostgreSQL's certificate is not trusted ({cause.verify_message}); in LOANLOOP_POSTGRES__DSN set "
                "sslrootcert to its CA's file, and name the host that the certificate names"
            )
        case ConnectionError() if "rejected SSL upgrade" in str(cause):
            return AccessRefused(f"PostgreSQL speaks no TLS ({in_one_line(cause)}), and sslmode asks for it")
        case OSError() if not isinstance(cause, AWAY) and (unusable := unusable_tls_file(dsn)):
            return AccessRefused(f"{unusable}; in LOANLOOP_POSTGRES__DSN name a PEM file that this process may read")
    return Unavailable(f"PostgreSQL does not take the connection: {in_one_line(cause)}")


_OWNERS_ALONE = (
    "They are the owner's alone, who has to be named in the address of PostgreSQL "
    "(with docker compose: `docker compose run --rm migrations`)."
)
_TABLE_WITHIN_S = 10.0  # behind a migration that waits for a table, everybody else waits for it too


def _apply_migrations(dsn: str, folder: Path, only: Collection[str] | None) -> int:
    backend = _migration_backend(dsn)
    with closing(backend.connection):
        try:
            with psycopg.connect(dsn, autocommit=True) as session, _only_migration(session, backend):
                known = read_migrations(str(folder))
                to_apply = backend.to_apply(known.filter(lambda one: only is None or one.id in only))
                backend.apply_migrations(to_apply)
                return len(to_apply)
        except psycopg.errors.LockNotAvailable as cause:
            raise Unavailable(
                "PostgreSQL does not apply the migrations: another transaction, or another migration, held for too "
                "long what they need; run this again, it goes on behind those that are applied"
            ) from cause
        except psycopg.OperationalError as cause:
            raise Unavailable(f"PostgreSQL does not apply the migrations: {in_one_line(cause)}") from cause
        except psycopg.errors.InsufficientPrivilege as cause:
            raise LoanloopError(f"PostgreSQL refuses the migrations: {in_one_line(cause)}. {_OWNERS_ALONE}") from cause
        except psycopg.Error as cause:
            raise LoanloopError(f"PostgreSQL refuses the migrations: {in_one_line(cause)}") from cause


def _as_migrations_need(dsn: str) -> str:
    """Said in the address, where the last options hold: Yoyo makes connections of its own.

    UTC, whatever the server's time zone is. What the operator's options say of waiting holds.
    """
    theirs = dict(parse_qsl(urlsplit(dsn).query)).get("options", "")
    options = f"-c lock_timeout={_TABLE_WITHIN_S * 1000:.0f}ms {theirs} -c TimeZone=UTC"
    return f"{dsn}{'&' if '?' in dsn else '?'}options={quote(options)}"


def _migration_backend(dsn: str) -> DatabaseBackend:
    try:
        return get_backend(re.sub("^postgres(ql)?://", "postgresql+psycopg://", _as_migrations_need(dsn)))
    except (BadConnectionURI, ValueError) as cause:  # neither says the DSN, which holds a password
        raise LoanloopError(
            "The address of PostgreSQL cannot be read: it must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
            "with special characters in the password as %XX."
        ) from cause
    except psycopg.Error as cause:
        raise Unavailable(f"PostgreSQL does not take the connection: {in_one_line(cause)}") from cause


@contextmanager
def _only_migration(session: psycopg.Connection, backend: DatabaseBackend) -> Iterator[None]:
    """Holds a lock that ends with the session: Yoyo's own is a row, which a killed process leaves behind."""
    session.execute("SET lock_timeout = '60s'")
    session.execute("SELECT pg_advisory_lock(hashtext('loanloop migrations'))")
    try:
        backend.break_lock()
    except psycopg.errors.UndefinedTable as cause:  # Yoyo goes on when it was denied the tables it needs
        raise LoanloopError(
            f"PostgreSQL refuses the migrations: permission denied to create tables. {_OWNERS_ALONE}"
        ) from cause
    with backend.lock():
        yield


GRANT_ROLES = "SELECT loan_data.grant_roles()"


def _grant_roles(dsn: str) -> list[str]:
    try:
        with psycopg.connect(dsn) as session:
            row = session.execute(GRANT_ROLES).fetchone()
            return list(row[0]) if row else []
    except psycopg.OperationalError as cause:
        raise Unavailable(f"PostgreSQL does not take the connection: {in_one_line(cause)}") from cause
    except psycopg.Error as cause:
        raise LoanloopError(f"PostgreSQL refuses to grant the roles: {in_one_line(cause)}") from cause


async def grant_roles(dsn: str) -> list[str]:
    """Make the services' roles and grant them what they may, of the schema as it is; returns those that are missing, as
    `dsn`'s account may not create roles.

    Raises Unavailable when the server does not take the connection, LoanloopError when the tables are another's.
    """
    return await asyncio.to_thread(_grant_roles, dsn)


def known_migrations() -> list[str]:
    """The names of all that this version of loanloop brings, in order."""
    return sorted(path.stem for path in resource_folder("migrations").glob("*.sql"))


async def migrate(dsn: str, *, only: Collection[str] | None = None) -> int:
    """Apply what is missing of migrations/, in order, under a lock; returns how many were applied.

    `only`: no others than these, for data that were stored under them.
    Raises Unavailable when the server does not take the connection, LoanloopError when `dsn` is none or its account
    may not change the tables.
    """
    return await asyncio.to_thread(_apply_migrations, dsn, resource_folder("migrations"), only)
