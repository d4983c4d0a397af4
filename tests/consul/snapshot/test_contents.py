"""What is in a snapshot: it comes back as it was, or is refused as a whole, and values age."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hrpc.abc import Instance, Selection
from hrpc.consul.snapshot.confidential import without_secrets
from hrpc.consul.snapshot.contents import CLOCKS_DIFFER, Contents, Origin, Stored, UnusableSnapshot, decode, encode

# Consul's texts are UTF-8, which has no halves of surrogate pairs.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.floats(0, 4e9)
instances = st.builds(
    Instance,
    texts,
    texts,
    texts,
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.lists(texts, max_size=3).map(tuple),
    st.dictionaries(texts, texts, max_size=3),
    texts,
)
selections = st.builds(
    Selection,
    texts,
    st.lists(texts, max_size=3).map(tuple),
    st.none() | texts,
    st.lists(texts, max_size=3).map(tuple),
)
stored_values = st.builds(Stored, st.none() | st.binary(max_size=40), times)
stored_lists = st.builds(Stored, st.lists(instances, max_size=3).map(tuple), times)
origins = st.builds(Origin, texts, texts, texts, texts, texts, texts)
contents = st.builds(
    Contents,
    origins,
    st.dictionaries(texts, stored_values, max_size=4),
    st.dictionaries(selections, stored_lists, max_size=3),
    st.frozensets(texts, max_size=3),
)
SOME = Contents(
    Origin("orders", "production", "production", "dc1"),
    {"production/limit": Stored(b"20", 1.0), "production/none": Stored(None, 2.0)},
    {Selection("users", ("production",)): Stored((Instance("users-1", "users", "10.0.0.1", 8888),), 3.0)},
    frozenset({"production/databases/mysql"}),
)


@given(contents)
@example(SOME)
def test_what_is_encoded_is_decoded_to_the_same(written: Contents) -> None:
    assert decode(encode(written)) == written


@given(contents, st.data())
def test_a_file_that_is_cut_short_is_refused(written: Contents, data: st.DataObject) -> None:
    encoded = encode(written)
    end = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(UnusableSnapshot):
        decode(encoded[:end])


@given(contents, st.data())
def test_a_file_with_a_bit_that_is_not_as_it_was_is_refused(written: Contents, data: st.DataObject) -> None:
    encoded = bytearray(encode(written))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(UnusableSnapshot):
        decode(bytes(encoded))


def test_every_bit_of_a_file_counts() -> None:
    encoded = encode(SOME)
    for place in range(len(encoded) * 8):
        other = bytearray(encoded)
        other[place // 8] ^= 1 << place % 8
        with pytest.raises(UnusableSnapshot):
            decode(bytes(other))


@given(st.binary(max_size=300))
def test_bytes_that_are_anything_are_refused(data: bytes) -> None:
    with pytest.raises(UnusableSnapshot):
        decode(data)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def sealed(body: bytes) -> bytes:
    """With a checksum that is right."""
    return b"hrpc-snapshot 1 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@given(st.sampled_from(["origin", "keys", "services", "left_out"]), anything)
@example("services", [[1.0, ["a", [], None, []], [{"id": 1}]]])
@example("keys", {"a": [1.0, "no base64 %"]})
@example("keys", {"a": ["1", None]})
@example("origin", {"who": "me"})
def test_what_has_a_right_checksum_and_a_wrong_shape_is_refused_without_a_crash(part: str, found: object) -> None:
    body = json.loads(encode(SOME).partition(b"\n")[2]) | {part: found}
    try:
        decode(sealed(json.dumps(body).encode()))
    except UnusableSnapshot as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"7", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_snapshot_is_refused(body: bytes) -> None:
    with pytest.raises(UnusableSnapshot, match="damaged"):
        decode(sealed(body))


def test_another_version_is_told_apart_from_damage() -> None:
    with pytest.raises(UnusableSnapshot, match="version 2, and this hrpc reads 1"):
        decode(encode(SOME).replace(b"hrpc-snapshot 1 ", b"hrpc-snapshot 2 ", 1))


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(1, 1e6))
def test_a_value_is_used_until_it_is_too_old_and_not_when_it_is_from_the_future(
    at: float, now: float, max_age: float
) -> None:
    age = Stored(b"", at).age(now, max_age)
    if -CLOCKS_DIFFER <= now - at <= max_age:
        assert age == max(0.0, now - at)
    else:
        assert age is None


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_none_is_never_used(at: float) -> None:
    assert Stored(b"", at).age(1000.0, 86400.0) is None


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (SOME.origin, None),
        (Origin("users", "production", "production", "dc1"), "server 'users', not 'orders'"),
        (Origin("orders", "staging", "production", "dc1"), "environment 'staging', not 'production'"),
        (Origin("orders", "production", "other", "dc1"), "prefix 'other', not 'production'"),
        (Origin("orders", "production", "production", "dc2"), "datacenter 'dc2', not 'dc1'"),
        (Origin("orders", "production", "production", "dc1", "a"), "namespace 'a', not ''"),
        (Origin("orders", "production", "production", "dc1", "", "p"), "partition 'p', not ''"),
    ],
)
def test_values_of_another_service_or_place_are_told_apart(other: Origin, difference: str | None) -> None:
    assert SOME.origin.difference(other) == difference


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("production/databases/mysql", b"{}", True),
        ("production/messagequeues/orders", b"x", True),
        ("production/services/orders/api_token", b"abc", True),
        ("production/PASSWORD", b"abc", True),
        ("production/secrets/pepper", b"abc", True),
        ("production/smtp", b'{"host": "a", "password": "b"}', True),
        ("production/smtp", b'[{"nested": {"apiKey": "b"}}]', True),
        ("production/upstream", b"amqp://user:pass@host/", True),
        ("production/tls", b"-----BEGIN PRIVATE KEY-----\n", True),
        ("production/limit", b"20", False),
        ("production/limit", None, False),
        ("production/services/orders/databases", b"2", False),
        ("production/page", b"https://host:8080/a", False),
        ("production/odd", b"{not json", False),
        ("production/odd", b"[" * 100_000, False),
        ("production/settings", b'{"host": "a", "tokens_per_second": 7}', False),
    ],
)
def test_what_may_be_secret_is_left_out_and_named(key: str, value: bytes | None, secret: bool) -> None:
    kept = without_secrets(Contents(SOME.origin, {key: Stored(value, 1.0)}))
    assert (key in kept.keys, kept.left_out) == (not secret, {key} if secret else set())
