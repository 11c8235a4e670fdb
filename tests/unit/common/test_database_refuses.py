"""What a DSN says wrongly is said at once; what is away for now is waited for."""

from pathlib import Path

import pytest
from loanloop.backups.session import connect
from loanloop_common.errors import AccessRefused, Unavailable
from loanloop_common.postgres import create_pool

PASSWORD = "correct-horse"
NOBODY = f"postgresql://loanloop:{PASSWORD}@127.0.0.1:1/loanloop"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslrootcert=/none/ca.pem", "sslrootcert=/none/ca.pem cannot be loaded (No such file or directory)"),
        ("sslrootcert=/", "sslrootcert=/ cannot be loaded (Is a directory)"),
        ("sslrootcert={junk}", "no certificate or crl found"),
        ("sslcrl=/none/crl.pem", "sslcrl=/none/crl.pem cannot be loaded"),
        ("sslcert=/none/c.pem&sslkey=/none/k.pem", "sslcert=/none/c.pem with sslkey=/none/k.pem cannot be loaded"),
    ],
)
async def test_a_file_for_tls_that_cannot_be_loaded_is_no_database_to_wait_for(
    query: str, said: str, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")

    with pytest.raises(AccessRefused) as refused:
        await create_pool(f"{NOBODY}?sslmode=require&{query.format(junk=junk)}", application_name="test")

    assert said in str(refused.value)
    assert "LOANLOOP_POSTGRES__DSN" in str(refused.value)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize("dsn", [NOBODY, "postgresql://loanloop@/loanloop?host=/none"])
async def test_a_server_that_is_away_is_waited_for_also_where_its_socket_is_a_file(dsn: str) -> None:
    with pytest.raises(Unavailable):
        await create_pool(dsn, application_name="test")


@pytest.mark.parametrize(
    ("dsn", "pgport"),
    [
        ("postgresql://loanloop:correct-horse@127.0.0.1:99999/loanloop", None),
        ("postgresql://loanloop:correct-horse@/loanloop?host=127.0.0.1&port=abc", None),
        ("postgresql://loanloop:correct-horse@a..b:1/loanloop", None),
        ("postgresql://loanloop:correct-horse@127.0.0.1/loanloop", "abc"),
    ],
)
async def test_an_address_that_can_be_none_is_no_database_to_wait_for(
    dsn: str, pgport: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pgport:
        monkeypatch.setenv("PGPORT", pgport)
    for connecting in (create_pool(dsn, application_name="test"), connect(dsn, application_name="test")):
        with pytest.raises(AccessRefused, match="a port a number from 1 to 65535") as refused:
            await connecting

        assert PASSWORD not in str(refused.value)


async def test_a_choice_of_the_address_that_is_none_is_said_with_those_there_are() -> None:
    said = "its target_session_attrs must be one of any, primary, standby, prefer-standby, read-write, read-only$"
    with pytest.raises(AccessRefused, match=said):
        await create_pool(f"{NOBODY}?target_session_attrs=abc", application_name="test")
