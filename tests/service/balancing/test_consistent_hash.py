"""Consistent hash: the same key finds the same endpoint, and few keys move."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrpc.service.balancing.consistent_hash import ConsistentHash
from hrpc.service.balancing.endpoint import Endpoint
from tests.service.balancing.endpoints import Fleet, instance

KEYS = [f"user-{number}" for number in range(500)]
NAMES = st.sets(st.integers(0, 40).map("10.0.0.{}".format), min_size=1, max_size=12)


def hashed(names: object, **settings: object) -> Fleet:
    return Fleet(equal(names), picker="consistent_hash", hash_key="user-id", **settings)


def equal(names: object) -> dict[str, int]:
    return names if isinstance(names, dict) else dict.fromkeys(names, 1)  # type: ignore[call-overload, no-any-return]


def owners(fleet: Fleet) -> dict[str, str]:
    return {key: fleet.pick(key) for key in KEYS}


@given(NAMES, st.data())
@settings(max_examples=50)
def test_only_the_keys_of_what_came_or_went_move(names: set[str], data: st.DataObject) -> None:
    after = data.draw(NAMES)
    fleet = hashed(names)
    before = owners(fleet)
    fleet.replace(equal(after))
    for key, owner in owners(fleet).items():
        assert owner in after
        assert owner == before[key] or before[key] not in after or owner not in names


@given(NAMES, NAMES)
@settings(max_examples=50)
def test_callers_agree_whatever_they_have_seen_before(names: set[str], before: set[str]) -> None:
    changed = hashed(before)
    changed.replace(equal(names))
    assert owners(changed) == owners(hashed(sorted(names), seed=2))


def test_a_new_endpoint_takes_no_more_keys_than_its_part() -> None:
    fleet = hashed([f"10.0.0.{number}" for number in range(9)])
    before = owners(fleet)
    fleet.replace(equal([f"10.0.0.{number}" for number in range(10)]))
    moved = sum(before[key] != owner for key, owner in owners(fleet).items())
    assert moved == pytest.approx(50, abs=20)


def test_a_heavier_endpoint_has_more_keys() -> None:
    fleet = hashed({"10.0.0.1": 100, "10.0.0.2": 300})
    part = Counter(owners(fleet).values())["10.0.0.2"] / len(KEYS)
    assert part == pytest.approx(0.75, abs=0.1)


def test_without_the_key_calls_go_round_robin() -> None:
    assert hashed("abc").picks(30) == dict.fromkeys("abc", 10)


def test_an_endpoint_that_is_away_gives_its_keys_and_no_others_and_gets_them_back() -> None:
    fleet = hashed("abcdef")
    before = owners(fleet)
    fleet.down = {"a"}
    for _ in range(2):  # before the next look at all endpoints, and after it
        assert {key for key, owner in owners(fleet).items() if owner != before[key]} == {
            key for key, owner in before.items() if owner == "a"
        }
        assert "a" not in owners(fleet).values()
        fleet.clock.now += 1
    fleet.down = set()
    fleet.pick("any")
    fleet.clock.now += 1
    assert owners(fleet) == before


def test_a_call_that_is_made_again_goes_where_its_key_would_go_without_the_first() -> None:
    fleet, without_a = hashed("abcd"), hashed("bcd")
    assert {key: fleet.pick(key, without="a") for key in KEYS} == owners(without_a)


def test_the_zone_does_not_matter_to_a_key() -> None:
    names = ["x/1", "x/2", "y/1", "y/2"]
    assert owners(hashed(names, zone="x")) == owners(hashed(names, zone="y"))


def test_many_changes_leave_nothing_behind() -> None:
    fleet = hashed("ab")
    for number in range(1000):
        fleet.replace(equal(["a", f"b{number}"]))
    picker = fleet.balancer._picker
    assert isinstance(picker, ConsistentHash)
    assert len(picker._numbered) <= 3
    assert len(picker._ring) == 200


def test_nobody_is_found_who_does_not_fit() -> None:
    endpoint = Endpoint("a", instance("a", 1), None)
    endpoint.share = 1.0
    picker = ConsistentHash(lambda: 0.5)
    picker.replace([endpoint])
    assert picker.first("key", lambda _: False) is None
