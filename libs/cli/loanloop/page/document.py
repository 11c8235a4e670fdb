"""The page's one file, its parts filled in, and what a browser may do with it."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from loanloop.page.markup import Markup

_FILE = Path(__file__).with_name("page.html")
_PLACE = re.compile(r"<!-- (\w+) -->")


class Document:
    def __init__(self) -> None:
        self._text = _FILE.read_text()
        self.headers = {
            "content-security-policy": policy_of(self._text),
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "camera=(), geolocation=(), microphone=()",
            "cache-control": "no-store",
        }

    @property
    def places(self) -> set[str]:
        return set(_PLACE.findall(self._text))

    def filled(self, sections: Mapping[str, Markup]) -> str:
        return _PLACE.sub(lambda place: sections[place[1]], self._text)


def policy_of(text: str) -> str:
    """Only the file's own style and script, known by their hashes, and no address but this server's."""
    style, script = (_hash_of(text, name) for name in ("style", "script"))
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash_of(text: str, name: str) -> str:
    (content,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
