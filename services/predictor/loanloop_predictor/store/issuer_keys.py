"""The public keys of an identity provider (a JWKS), from a file or its address."""

import asyncio
import json
import urllib.request
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError

from loanloop_common.errors import Unavailable, in_one_line

_WITHIN_S = 5.0
_MAX_BYTES = 1_000_000
_SIGNING = {"RSA", "EC", "OKP"}  # a shared secret (oct) would let whoever checks tokens make them


async def fetch_issuer_keys(source: str) -> list[dict[str, Any]]:
    """Those that sign. Raises Unavailable, naming the source."""
    try:
        found = json.loads(await asyncio.to_thread(_read, source))
        keys = [key for key in found["keys"] if key.get("kty") in _SIGNING and key.get("use", "sig") == "sig"]
    except OSError as cause:  # of urllib's errors as well
        raise Unavailable(f"the issuer's keys at {source} cannot be read: {in_one_line(cause)}") from cause
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise Unavailable(f'the issuer\'s keys at {source} are no JWKS: it must be {{"keys": [...]}}') from cause
    if not keys:
        raise Unavailable(f"the issuer's keys at {source} hold no public key that signs")
    return keys


def _read(source: str) -> bytes:
    if "://" not in source:
        return Path(source).read_bytes()
    opener = urllib.request.build_opener(_ToHttpsAlone)
    with opener.open(source, timeout=_WITHIN_S) as answer:  # the settings take https alone
        return bytes(answer.read(_MAX_BYTES))


class _ToHttpsAlone(urllib.request.HTTPRedirectHandler):
    """Whoever is between could give keys of his own to who was sent to plain http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https://"):
            raise URLError(f"it sends on to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
