"""Tokens of an identity provider whose keys are served by a real server on loopback."""

import base64
import hashlib
import hmac
import http.server
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from loanloop_common.errors import Unavailable
from loanloop_common.settings import SettingsInvalid, load_settings
from loanloop_predictor.api import Access, TokenRules, Tokens, make_api
from loanloop_predictor.config import PredictorSettings
from loanloop_predictor.domain.access import RateLimit, Unauthenticated
from loanloop_predictor.store.issuer_keys import fetch_issuer_keys

from tests.support.eventually import eventually
from tests.support.loans import make_features
from tests.support.rest_in_memory import FakeDecider, api_in_memory

ISSUER, AUDIENCE = "https://login.example/realm", "loanloop"
RULES = TokenRules(ISSUER, AUDIENCE, "realm_access.roles", "loanloop-")
FIRST, SECOND, STRANGER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3))
CURVE = ec.generate_private_key(ec.SECP256R1())
LOAN = {"loan_id": "a", "features": make_features(1)}


def public(key: Any, kid: str) -> dict[str, Any]:
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return dict(algorithm.to_jwk(key.public_key(), as_dict=True)) | {"kid": kid, "use": "sig"}


def token(key: Any = FIRST, *, kid: str | None = "first", algorithm: str = "RS256", **claims: Any) -> str:
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "shop",
        "exp": time.time() + 60,
        "realm_access": {"roles": ["other", "loanloop-score"]},
    } | claims
    kept = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


class Issuer:
    """Serves its keys, and counts how often it was asked."""

    def __init__(self) -> None:
        self.keys = [public(FIRST, "first")]
        self.n_asked = 0
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.n_asked += 1
                if self.path == "/moved":
                    self.send_response(302)
                    self.send_header("Location", issuer.address)
                    self.end_headers()
                    return
                body = json.dumps({"keys": issuer.keys}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/jwks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    async def fetch(self) -> list[dict[str, Any]]:
        return await fetch_issuer_keys(self.address)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    yield running
    running.server.shutdown()
    running.server.server_close()


async def asked(issuer: Issuer, sent: str, method: str = "POST", path: str = "/predict") -> httpx.Response:
    access = Access(RateLimit(per_s=0, burst=1), by_token=Tokens(RULES, issuer.fetch).caller)
    transport = httpx.ASGITransport(make_api(api_in_memory(FakeDecider()), access), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://predictor") as client:
        return await client.request(method, path, headers={"Authorization": f"Bearer {sent}"}, json=LOAN)


async def test_roles_of_a_token_are_those_of_a_key(issuer: Issuer) -> None:
    reading = token(realm_access={"roles": ["loanloop-read"]})
    operating = token(realm_access={"roles": ["loanloop-read", "loanloop-operate"]})
    none = token(realm_access={"roles": ["operate"]})

    statuses = [(await asked(issuer, sent)).status_code for sent in (token(), reading, operating, none)]
    assert statuses == [200, 403, 200, 403]
    refused = (await asked(issuer, reading)).json()["error"]["message"]
    assert refused == "token of 'shop' has the role read, and POST /predict needs score: use a key that has it"
    assert "realm_access.roles names none of" in (await asked(issuer, none)).json()["error"]["message"]


WRONG: dict[str, Callable[[], str]] = {
    "the token has expired": lambda: token(exp=time.time() - 60),
    "the token is not valid yet": lambda: token(nbf=time.time() + 60),
    "is for another audience: it must be for loanloop": lambda: token(aud="another"),
    "is of another issuer: it must be of https://login.example/realm": lambda: token(iss="https://evil.example"),
    "the token's key is not known of": lambda: token(STRANGER, kid="stranger"),
    "the token's signature is not that of": lambda: token(STRANGER),
    "lacks the claim exp": lambda: token(exp=None),
    "lacks the claim sub": lambda: token(sub=None),
    "lacks the claim aud": lambda: token(aud=None),
    "neither an API key of loanloop nor a token": lambda: "some.other.thing",
    "neither an API key": lambda: "x" * 5000,
    "the token is not valid: get a new one": lambda: token(exp="soon"),
}


@pytest.mark.parametrize("claims", [{"exp": 10**400}, {"exp": math.inf}, {"nbf": math.inf}])
async def test_signed_token_with_a_time_that_no_clock_knows_gets_401(issuer: Issuer, claims: dict[str, Any]) -> None:
    answer = await asked(issuer, token(**claims))
    assert (answer.status_code, answer.json()["error"]["kind"]) == (401, "unauthenticated")


@pytest.mark.parametrize("sentence", WRONG)
async def test_token_that_is_none_gets_401_and_one_sentence(issuer: Issuer, sentence: str) -> None:
    answer = await asked(issuer, WRONG[sentence]())
    message = answer.json()["error"]["message"]
    assert (answer.status_code, sentence in message) == (401, True), message
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_unsigned_token_and_one_signed_with_the_public_key_as_a_secret_are_refused(issuer: Issuer) -> None:

    pem = FIRST.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    unsigned = token(None, algorithm="none")
    # PyJWT refuses to make this one; an attacker does not.
    head, body, _ = token().split(".")
    header = json.dumps({"alg": "HS256", "typ": "JWT", "kid": "first"}).encode()
    head = base64.urlsafe_b64encode(header).decode().rstrip("=")
    signed = hmac.new(pem, f"{head}.{body}".encode(), hashlib.sha256).digest()
    confused = f"{head}.{body}." + base64.urlsafe_b64encode(signed).decode().rstrip("=")
    for sent in (unsigned, confused):
        answer = await asked(issuer, sent)
        assert answer.status_code == 401
        assert "the token's algorithm is not taken here" in answer.json()["error"]["message"]


OTHERS: list[dict[str, Any]] = [
    {"kty": "OKP", "crv": "X25519", "x": "A" * 43, "kid": "agrees"},
    {"kty": "OKP", "crv": "X448", "x": "A" * 75},
    public(CURVE, "brainpool") | {"crv": "BP-256"},
    public(CURVE, "another-curve") | {"crv": "P-521"},
    public(STRANGER, "encrypts") | {"alg": "RSA-OAEP"},
    public(STRANGER, "shared") | {"alg": "HS256"},
    public(STRANGER, "broken") | {"n": "?"},
    {"kty": "RSA", "kid": "empty"},
]


async def test_key_that_checks_no_token_is_passed_over_and_the_others_go_on(issuer: Issuer) -> None:
    issuer.keys = [*OTHERS, public(FIRST, "first")]
    tokens = Tokens(RULES, issuer.fetch)

    assert (await tokens.caller(token())).name == "token of 'shop'"
    for kid in ("encrypts", "shared", "brainpool"):
        with pytest.raises(Unauthenticated, match="key is not known of"):
            await tokens.caller(token(STRANGER, kid=kid))


async def test_where_no_key_is_left_that_is_said_and_no_key_is_in_the_sentence(issuer: Issuer) -> None:
    issuer.keys = OTHERS

    answer = await asked(issuer, token())

    message = answer.json()["error"]["message"]
    assert (answer.status_code, "none of the keys of the issuer" in message) == (503, True), message
    assert "brainpool" in message
    assert str(OTHERS[2]["x"]) not in message


EDWARDS = ed25519.Ed25519PrivateKey.generate()
SIGNED = {name: (FIRST, public(FIRST, "first")) for name in ("RS384", "RS512", "PS256", "PS384", "PS512")} | {
    "EdDSA": (
        EDWARDS,
        dict(jwt.algorithms.OKPAlgorithm.to_jwk(EDWARDS.public_key(), as_dict=True)) | {"kid": "first"},
    )
}


@pytest.mark.parametrize("algorithm", SIGNED)
async def test_key_that_names_no_algorithm_checks_each_of_its_kind(issuer: Issuer, algorithm: str) -> None:
    key, jwk = SIGNED[algorithm]
    issuer.keys = [jwk]

    assert (await asked(issuer, token(key, algorithm=algorithm))).status_code == 200


async def test_key_that_names_an_algorithm_checks_no_other(issuer: Issuer) -> None:
    issuer.keys = [public(FIRST, "first") | {"alg": "RS512"}]

    assert (await asked(issuer, token(algorithm="RS512"))).status_code == 200
    answer = await asked(issuer, token())
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        401, "the token's algorithm RS256 is not its key's, RS512",
    )  # fmt: skip
    assert (await asked(issuer, token(CURVE, algorithm="ES256"))).status_code == 401


async def test_new_key_of_the_issuer_is_found_and_unknown_ones_do_not_make_us_ask_again_and_again(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokens(RULES, issuer.fetch)
    await tokens.caller(token())
    issuer.keys = [public(SECOND, "second"), public(CURVE, "curve")]
    for _ in range(5):
        with pytest.raises(Unauthenticated, match="key is not known of"):
            await tokens.caller(token(SECOND, kid="second"))
    assert issuer.n_asked == 1

    monkeypatch.setattr("loanloop_predictor.api.tokens._LOOK_AGAIN_AFTER_S", 0.0)
    await tokens.caller(token(SECOND, kid="second"))
    await tokens.caller(token(CURVE, kid="curve", algorithm="ES256"))
    with pytest.raises(
        Unauthenticated, match="key is not known of"
    ):  # the issuer has taken it back, though it was remembered
        await tokens.caller(token())


async def test_token_is_remembered_until_it_expires(issuer: Issuer) -> None:
    tokens = Tokens(RULES, issuer.fetch)
    sent = token()
    assert await tokens.caller(sent) is await tokens.caller(sent)
    ends_soon = token(exp=time.time() - 9)  # clocks may differ by 10 s
    await tokens.caller(ends_soon)

    async def is_refused() -> bool:
        try:
            await tokens.caller(ends_soon)
        except Unauthenticated as refused:
            return "has expired" in str(refused)
        return False

    await eventually(is_refused)


async def test_issuer_that_is_away_gets_503_until_it_is_there() -> None:
    running = Issuer()
    running.server.shutdown()
    running.server.server_close()
    answer = await asked(running, token())
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert answer.json()["error"]["message"].startswith(f"the issuer's keys at {running.address} cannot be read")


async def test_keys_are_not_fetched_where_a_redirect_leaves_https(issuer: Issuer) -> None:
    with pytest.raises(
        Unavailable, match=r"cannot be read: .*it sends on to http://127.0.0.1:\d+/jwks, which is not https"
    ):
        await fetch_issuer_keys(issuer.address.replace("/jwks", "/moved"))


@pytest.mark.parametrize("content", ["", "[]", '{"keys": 3}', '{"keys": []}', '{"keys": [{"kty": "oct", "k": "eA"}]}'])
async def test_file_that_holds_no_public_keys_is_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(content)
    with pytest.raises(Unavailable, match=r"jwks\.json (are no JWKS|hold no public key)"):
        await fetch_issuer_keys(str(path))


@pytest.mark.parametrize(
    ("jwks", "sentence"),
    [
        ("", "tokens also need LOANLOOP_PREDICTOR__OIDC_JWKS"),
        ("http://login.example/jwks", "must be a file or an https"),
    ],
)
def test_half_a_setting_or_keys_over_an_open_line_are_refused(
    jwks: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"OIDC_ISSUER": ISSUER, "OIDC_AUDIENCE": AUDIENCE, "OIDC_JWKS": jwks}.items():
        monkeypatch.setenv(f"LOANLOOP_PREDICTOR__{name}", value)
    with pytest.raises(SettingsInvalid, match=sentence):
        load_settings(PredictorSettings)
