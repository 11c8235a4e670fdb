"""API keys: `loanloop_ID_SECRET`, and the lines of the file that knows them by their hashes. Pure."""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from loanloop_common.errors import LoanloopError

from loanloop_predictor.domain.access import Caller, Role, Unauthenticated, is_same, sha256_of

PREFIX = "loanloop_"
SECRET_BYTES = 32
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ROLES = {str(role) for role in Role}
_NOBODY = bytes(32)
_HEADER = "# API keys of loanloop: ID ROLE SHA-256 of the key. Written by `loanloop keys`; the keys are not in it.\n"
UNKNOWN = "this API key is not known here: it was mistyped, or revoked"


class KeysInvalid(LoanloopError):
    """The file of keys cannot be read, or a line of it is none."""


@dataclass(frozen=True)
class AccessKey:
    key_id: str
    role: Role
    sha256: bytes

    @cached_property
    def caller(self) -> Caller:
        return Caller(f"key {self.key_id}", self.role)

    def line(self) -> str:
        return f"{self.key_id} {self.role} {self.sha256.hex()}\n"


def make_key(key_id: str, role: Role, random: bytes) -> tuple[str, AccessKey]:
    """The key itself, and what is kept of it. Raises KeysInvalid."""
    if not _ID.fullmatch(key_id):
        raise KeysInvalid(f"key id {key_id!r} must be up to 40 lower-case letters, digits and dashes, such as web-shop")
    key = f"{PREFIX}{key_id}_{base64.urlsafe_b64encode(random).decode().rstrip('=')}"
    return key, AccessKey(key_id, role, sha256_of(key))


def read_keys(text: str) -> dict[str, AccessKey]:
    """By their ids. Raises KeysInvalid, naming the line but not what is in it: it may be a key by mistake."""
    keys: dict[str, AccessKey] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) != 3 or not _ID.fullmatch(parts[0]) or parts[1] not in _ROLES or not _SHA256.fullmatch(parts[2]):
            raise KeysInvalid(f"line {number} must be ID, role ({', '.join(Role)}) and a SHA-256 of 64 hex digits")
        if parts[0] in keys:
            raise KeysInvalid(f"line {number} has an id that an earlier line has: revoke it, and make one anew")
        keys[parts[0]] = AccessKey(parts[0], Role(parts[1]), bytes.fromhex(parts[2]))
    return keys


def written(keys: Iterable[AccessKey]) -> str:
    return _HEADER + "".join(key.line() for key in keys)


def caller_of(key: str, keys: Mapping[str, AccessKey]) -> Caller:
    """Raises Unauthenticated."""
    prefix, _, rest = key.partition("_")
    known = keys.get(rest.partition("_")[0]) if f"{prefix}_" == PREFIX else None
    # Of an id that is not there the same is computed: the time says nothing either.
    if not is_same(sha256_of(key), known.sha256 if known else _NOBODY) or known is None:
        raise Unauthenticated(UNKNOWN)
    return known.caller
