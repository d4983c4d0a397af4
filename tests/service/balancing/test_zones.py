"""The own zone first, as long as it has enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.balancing.endpoints import Fleet


def fleet_of(zones: dict[str, int], zone: str = "a", **settings: object) -> Fleet:
    """So many endpoints in each zone."""
    names = [f"{name}/{number}" for name, many in zones.items() for number in range(many)]
    return Fleet(dict.fromkeys(names, 1), zone, **settings)


def staying(fleet: Fleet, zone: str = "a", times: int = 2000) -> float:
    """The part of the calls that stays in a zone."""
    return sum(picks for name, picks in fleet.picks(times).items() if name.startswith(zone)) / times


@pytest.mark.parametrize("picker", ["weighted_round_robin", "p2c"])
def test_calls_stay_in_a_zone_that_has_enough(picker: str) -> None:
    fleet = fleet_of({"a": 3, "b": 3, "c": 4}, picker=picker)
    assert staying(fleet) == 1
    rows = fleet.rows()
    assert rows["a/0"].state == "in"
    assert (rows["b/0"].state, rows["b/0"].why) == ("other zone", "zone 'a' has enough")


@pytest.mark.parametrize("picker", ["weighted_round_robin", "p2c"])
def test_of_a_zone_that_has_too_few_as_many_calls_leave_as_it_cannot_take(picker: str) -> None:
    fleet = fleet_of({"a": 1, "b": 3}, picker=picker)  # on average 2: the one can take 1.4 / 2
    assert staying(fleet) == pytest.approx(0.7, abs=0.03)
    assert fleet.rows()["b/0"].why == "zone 'a' has too few"


def test_calls_leave_as_endpoints_of_the_zone_go_away_and_come_back_with_them() -> None:
    fleet = fleet_of({"a": 4, "b": 4})
    parts = []
    for down in (0, 1, 2, 3, 4):
        fleet.down = {f"a/{number}" for number in range(down)}
        fleet.clock.now += 1
        fleet.balancer.rows()
        parts.append(staying(fleet))
    assert parts == sorted(parts, reverse=True)
    assert (parts[0], parts[-1]) == (1, 0)
    fleet.down = set()
    fleet.clock.now += 1
    assert staying(fleet) == 1


def test_one_of_another_zone_takes_a_call_that_all_of_the_own_have_been_tried_for() -> None:
    assert fleet_of({"a": 2, "b": 2}).pick(without=["a/0", "a/1"]).startswith("b")


def test_without_a_zone_or_a_wish_for_it_all_are_called_alike() -> None:
    assert staying(fleet_of({"a": 1, "b": 1}, zone="")) == 0.5
    assert staying(fleet_of({"a": 1, "b": 1}, prefer_zone=False)) == 0.5
    assert staying(fleet_of({"b": 1, "c": 1}, zone="a"), "b") == 0.5


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 6), min_size=1))
def test_no_endpoint_gets_more_than_its_part_of_what_the_zones_can_take(zones: dict[str, int]) -> None:
    fleet = fleet_of(zones)
    own = sum(endpoint.share for endpoint in fleet.balancer.endpoints if endpoint.zone == "a")
    part = own / sum(endpoint.share for endpoint in fleet.balancer.endpoints)
    if "a" in zones:
        average = sum(zones.values()) / len(zones)
        assert part == pytest.approx(min(1, 1.4 * zones["a"] / average))
    else:
        assert part == 0
