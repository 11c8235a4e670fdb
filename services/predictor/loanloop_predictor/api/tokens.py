"""Tokens of an identity provider (OIDC): checked with its public keys, their roles read from a claim."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
import structlog
from loanloop_common.errors import Unavailable

from loanloop_predictor.api.jwks import ALGORITHMS, IssuerKey, usable_keys
from loanloop_predictor.domain.access import Caller, Forbidden, Role, Unauthenticated, sha256_of

log = structlog.get_logger()

_LEEWAY_S = 10
_LOOK_AGAIN_AFTER_S = 10.0  # however many tokens name a key that is not known
_REMEMBERED = 1000  # tokens: checking a signature costs more than deciding a loan
_SENTENCES: dict[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "the token has expired: get a new one",
    jwt.ImmatureSignatureError: "the token is not valid yet: get a new one, or set the clocks right",
    jwt.InvalidAudienceError: "the token is for another audience: it must be for {audience}",
    jwt.InvalidIssuerError: "the token is of another issuer: it must be of {issuer}",
    jwt.InvalidSignatureError: "the token's signature is not that of {issuer}",
}


@dataclass(frozen=True, slots=True)
class TokenRules:
    issuer: str
    audience: str
    roles_claim: str
    role_prefix: str


class Tokens:
    def __init__(self, rules: TokenRules, fetch_keys: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]) -> None:
        """`fetch_keys` raises Unavailable."""
        self._rules = rules
        self._fetch_keys = fetch_keys
        self._keys: dict[str | None, IssuerKey] = {}
        self._passed_over: list[str] = []
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._looked_at = -_LOOK_AGAIN_AFTER_S
        self._one_at_a_time = asyncio.Lock()

    async def look(self) -> None:
        """Raises Unavailable; then what was known before holds."""
        self._looked_at = time.monotonic()
        keys, passed_over = usable_keys(await self._fetch_keys())
        if passed_over and passed_over != self._passed_over:
            log.warning("issuer_keys_passed_over", issuer=self._rules.issuer, kids=passed_over)
        self._passed_over = passed_over
        if not keys:
            raise Unavailable(
                f"none of the keys of the issuer {self._rules.issuer} can be used (ids: {', '.join(passed_over)}): "
                f"one must be for {', '.join(ALGORITHMS)}"
            )
        if keys.keys() != self._keys.keys():
            log.info("issuer_keys_known", issuer=self._rules.issuer, kids=[kid or "" for kid in keys])
        self._keys, self._known = keys, {}

    async def caller(self, token: str) -> Caller:
        """Raises Unauthenticated or Forbidden, or Unavailable while the issuer's keys could not be read yet."""
        digest = sha256_of(token)
        caller, ends_at = self._known.get(digest, (None, 0.0))
        if caller is not None and time.time() < ends_at:
            return caller
        claims = self._checked(token, await self._key_of(token))
        caller = Caller(f"token of {str(claims['sub'])[:100]!r}", self._role_of(claims))
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[digest] = caller, claims["exp"]
        return caller

    async def _key_of(self, token: str) -> jwt.PyJWK:
        kid, algorithm = _named_by(token)
        if self._find(kid) is None:
            async with self._one_at_a_time:  # it may be a new one
                if self._find(kid) is None and time.monotonic() - self._looked_at >= _LOOK_AGAIN_AFTER_S:
                    await self.look()
        if not self._keys:
            raise Unavailable(f"the keys of the issuer {self._rules.issuer} could not be read yet")
        found = self._find(kid)
        if found is None:
            raise Unauthenticated(f"the token's key is not known of {self._rules.issuer}: get a new token")
        if algorithm not in found:
            raise Unauthenticated(f"the token's algorithm {algorithm} is not its key's, {' or '.join(found)}")
        return found[algorithm]

    def _find(self, kid: str | None) -> IssuerKey | None:
        """A token need not name its key where there is only one."""
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _checked(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        rules = self._rules
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            claims["exp"] = float(claims["exp"])
        except (jwt.PyJWTError, OverflowError) as refused:  # PyJWT takes exp=Infinity for a number, and 10**400
            raise Unauthenticated(_sentence(refused, rules)) from refused
        return claims

    def _role_of(self, claims: Mapping[str, Any]) -> Role:
        """The highest that the claim names."""
        found: Any = claims
        for part in self._rules.roles_claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        named = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        names = {f"{self._rules.role_prefix}{role}": role for role in Role}
        roles = [role for name, role in names.items() if name in named]
        if not roles:
            raise Forbidden(f"the token's claim {self._rules.roles_claim} names none of the roles {', '.join(names)}")
        return roles[-1]


def _named_by(token: str) -> tuple[str | None, str]:
    """The id of its key, and its algorithm."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as broken:
        raise Unauthenticated("this is neither an API key of loanloop nor a token") from broken
    if header.get("alg") not in ALGORITHMS:
        raise Unauthenticated(f"the token's algorithm is not taken here: it must be one of {', '.join(ALGORITHMS)}")
    return header.get("kid"), header["alg"]


def _sentence(refused: Exception, rules: TokenRules) -> str:
    if isinstance(refused, jwt.MissingRequiredClaimError):
        return f"the token lacks the claim {refused.claim}"
    for kind, sentence in _SENTENCES.items():
        if isinstance(refused, kind):
            return sentence.format(audience=rules.audience, issuer=rules.issuer)
    return "the token is not valid: get a new one"
