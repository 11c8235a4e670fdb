"""Where REST is asked, and whose certificate is trusted there."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from loanloop.runtime.first_steps import first_steps
from loanloop.runtime.ports import HOST
from loanloop.runtime.problems import CannotRun
from loanloop.runtime.rest import rest_trust, rest_url_at
from loanloop_common.portfolio_file import load_portfolio

CERTIFICATE = "LOANLOOP_PREDICTOR__TLS_CERT"


def test_rest_is_asked_by_https_where_the_predictor_has_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CERTIFICATE, raising=False)
    plain = rest_url_at(HOST, 8000)
    monkeypatch.setenv(CERTIFICATE, "cert.pem")
    secured = rest_url_at(HOST, 8000)

    assert (plain, secured) == ("http://127.0.0.1:8000", "https://127.0.0.1:8000")
    steps = [first_steps(load_portfolio("sba"), tools=Path("bin"), rest_url=url) for url in (plain, secured)]
    assert steps[0].predict.startswith("curl -s http://127.0.0.1:8000/predict ")
    assert steps[1].predict.startswith("curl -s --insecure https://127.0.0.1:8000/predict ")


def test_the_line_to_paste_has_a_place_for_the_key_where_rest_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOANLOOP_PREDICTOR__KEYS_FILE", "keys")
    steps = first_steps(load_portfolio("sba"), tools=Path("bin"), rest_url="http://127.0.0.1:8000")

    assert steps.predict.startswith("curl -s http://127.0.0.1:8000/predict -H 'x-api-key: KEY' -H ")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://127.0.0.1:8000"),
        ("192.0.2.7", "http://192.0.2.7:8000"),
        ("2001:db8::7", "http://[2001:db8::7]:8000"),
        ("loans.example", "http://loans.example:8000"),
    ],
)
def test_rest_is_asked_where_it_can_be_reached(host: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CERTIFICATE, raising=False)

    assert rest_url_at(host, 8000) == url


async def answer_of(url: str) -> int | str:
    """The status, or why whoever answers is not trusted."""
    async with httpx.AsyncClient(verify=rest_trust()) as client:
        try:
            return (await client.get(url)).status_code
        except httpx.ConnectError as refused:
            return str(refused)


async def test_only_the_predictor_s_own_certificate_is_trusted_whatever_host_it_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    issued, of_others = trustme.CA().issue_cert("loans.example"), trustme.CA().issue_cert(HOST)
    for name, one in (("own.pem", issued), ("other.pem", of_others)):
        (tmp_path / name).write_bytes(b"".join(part.bytes() for part in one.cert_chain_pems))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, HOST, 0, ssl=context) as server:
        url = f"https://{HOST}:{server.sockets[0].getsockname()[1]}"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv(CERTIFICATE, "own.pem")
        by_own = await answer_of(url)
        monkeypatch.setenv(CERTIFICATE, "other.pem")
        by_other = await answer_of(url)
        monkeypatch.delenv(CERTIFICATE)
        by_none = await answer_of(url)

    assert by_own == 204
    assert all("CERTIFICATE_VERIFY_FAILED" in str(answer) for answer in (by_other, by_none))


def test_a_certificate_that_is_not_there_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CERTIFICATE, "/none.pem")

    with pytest.raises(CannotRun, match=r"/none\.pem cannot be loaded \(No such file or directory\): set LOANLOOP_"):
        rest_trust()
