"""What is sent to an agent is what it shows, and any change of it is seen."""

from __future__ import annotations

import json
import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hrpc.abc import Check, Registration
from hrpc.consul import entry
from hrpc.testing.consul.model import Check as Known
from hrpc.testing.consul.registration import service_registration

texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
keys = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=128)
hosts = st.ip_addresses().map(str).filter(lambda host: host not in ("0.0.0.0", "::")) | st.just("orders.internal")
ports = st.integers(1, 65535)
seconds = st.integers(1, 10**6).map(float) | st.integers(1000, 10**6).map(lambda thousandths: thousandths / 1000)
check_kinds = st.sampled_from([("http", "http://[fd00::2]:6688/"), ("grpc", "[fd00::2]:8888"), ("ttl", "")])
checks = st.builds(
    lambda kind, interval, timeout, after: Check(kind[0], kind[1], interval, timeout, after + 60),
    check_kinds, seconds, seconds, seconds,
)  # fmt: skip
registrations = st.builds(
    Registration,
    id=st.just("orders-1"),
    name=st.just("orders"),
    address=hosts,
    port=ports,
    tags=st.lists(texts).map(tuple),
    meta=st.dictionaries(keys, texts, max_size=64),
    weight=st.integers(1, 65535),
    check=checks,
    tagged_addresses=st.dictionaries(texts, st.tuples(hosts, ports), max_size=4),
)


def shown(registration: Registration) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entry and its check, as an agent shows them that was sent the registration."""
    service, (definition,) = service_registration(json.dumps(entry.body(registration)).encode())
    return service.agent_json(), Known(definition, definition.status).agent_json("node", service)


@given(registrations)
def test_what_an_agent_shows_is_what_was_registered(registration: Registration) -> None:
    found, check = shown(registration)
    assert entry.is_same(found, registration)
    assert entry.is_same_check(check, registration)
    assert (check["CheckID"], check["ServiceID"], check["Status"]) == ("service:orders-1", "orders-1", "passing")


@given(checks, checks)
def test_a_check_that_is_carried_out_in_another_way_is_another_one(one: Check, other: Check) -> None:
    ours, theirs = (Registration("orders-1", "orders", "10.0.0.5", 1, (), {}, 1, check) for check in (one, other))
    is_one = entry.body(ours)["Check"] == entry.body(theirs)["Check"]
    assert entry.is_same_check(shown(theirs)[1], ours) == is_one


@given(registrations, st.sampled_from(["name", "address", "port", "tags", "meta", "weight", "tagged_addresses"]))
def test_each_field_that_somebody_changes_is_seen(registration: Registration, field: str) -> None:
    changed: dict[str, Any] = {
        "name": "another",
        "address": "203.0.113.99",
        "port": registration.port % 65535 + 1,
        "tags": (*registration.tags, "more"),
        "meta": {**dict([*registration.meta.items()][:63]), "more": "and more"},  # an agent takes 64
        "weight": registration.weight % 65535 + 1,
        "tagged_addresses": {},
    }
    if field == "tagged_addresses":
        registration = registration._replace(tagged_addresses={"far": ("203.0.113.7", 443)})
    if changed[field] != getattr(registration, field):
        found, _ = shown(registration._replace(**{field: changed[field]}))
        assert not entry.is_same(found, registration)
