"""The keys of an identity provider's JWKS: which of them can check tokens, and by which algorithms."""

from collections.abc import Iterable, Mapping
from typing import Any

import jwt

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
    "Ed448": ("EdDSA",),
}
# Fixed here: what a token says of its algorithm is only compared with it. No shared secrets, no `none`.
ALGORITHMS = (*_RSA, "ES256", "ES384", "ES512", "EdDSA")

# By algorithm: a key that names none is taken for each of its kind.
IssuerKey = Mapping[str, jwt.PyJWK]


def usable_keys(jwks: Iterable[Mapping[str, Any]]) -> tuple[dict[str | None, IssuerKey], list[str]]:
    """Those that can check tokens, by their ids; and the ids of the others, which are passed over (RFC 7517, 5)."""
    usable: dict[str | None, IssuerKey] = {}
    passed_over: list[str] = []
    for jwk in jwks:
        kid = jwk.get("kid")
        try:
            key = {algorithm: jwt.PyJWK(dict(jwk), algorithm) for algorithm in _algorithms_of(jwk)}
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            key = {}
        if key and (kid is None or isinstance(kid, str)):
            usable[kid] = key
        else:
            passed_over.append(str(kid or "")[:100])
    return usable, passed_over


def _algorithms_of(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """Only those of its kind, whatever it says: none for a key that encrypts."""
    kind, curve = jwk.get("kty"), jwk.get("crv")
    of_kind = _RSA if kind == "RSA" else _BY_CURVE.get(str(curve), ()) if kind in ("EC", "OKP") else ()
    named = jwk.get("alg")
    return of_kind if named is None else tuple(one for one in of_kind if one == named)
