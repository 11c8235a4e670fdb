"""How deep a message is nested: counted as a reader of JSON meets it, whatever stands in its texts."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from loanloop_common.errors import InvalidMessage
from loanloop_common.wire_rules import MAX_DEPTH, refuse_depth

texts = st.text(st.sampled_from('"\\[]{}a\n:,é'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=30,
)


def counted(data: bytes) -> int:
    """One byte after the other; a text that does not end goes to the end."""
    depth = deepest = 0
    in_text = is_escaped = False
    for byte in data:
        if in_text:
            in_text = is_escaped or byte != ord('"')
            is_escaped = not is_escaped and byte == ord("\\")
        elif byte == ord('"'):
            in_text = True
        elif byte in b"[]{}":
            depth += 1 if byte in b"[{" else -1
            deepest = max(deepest, depth)
    return deepest


def deepest_of(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(deepest_of, value.values() if isinstance(value, dict) else value), default=0)


def is_too_deep(data: bytes) -> bool:
    try:
        refuse_depth(data)
    except InvalidMessage:
        return True
    return False


@given(values, st.booleans())
def test_json_is_as_deep_as_its_value(value: Any, is_ascii: bool) -> None:
    data = json.dumps(value, ensure_ascii=is_ascii).encode()
    depth = deepest_of(value)

    assert counted(data) == depth
    for outer in (MAX_DEPTH - depth, MAX_DEPTH - depth + 1):
        assert is_too_deep(b"[" * outer + data + b"]" * outer) == (outer + depth > MAX_DEPTH)


@given(
    st.lists(st.sampled_from([b'"', b"\\", b"[", b"]", b"{", b"}", b"\n", b"\xff", b"a"]), max_size=40).map(b"".join)
)
def test_what_is_no_json_is_as_deep_as_it_is_counted_byte_by_byte(data: bytes) -> None:
    for outer in (MAX_DEPTH - counted(data), MAX_DEPTH - counted(data) + 1):
        assert is_too_deep(b"[" * outer + data) == (counted(b"[" * outer + data) > MAX_DEPTH)


@given(values, st.integers(0, 2 * MAX_DEPTH), st.data())
def test_what_the_decoder_follows_before_it_finds_a_fault_is_within_the_limit(
    value: Any, outer: int, data: st.DataObject
) -> None:
    """Cut short: what comes before the cut is as deep as it was."""
    whole = b"[" * outer + json.dumps(value).encode()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    assert is_too_deep(cut) == (counted(cut) > MAX_DEPTH)
