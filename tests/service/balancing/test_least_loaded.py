"""p2c: of two that are drawn, the one with less to do."""

from __future__ import annotations

import pytest

from tests.service.balancing.endpoints import CANCELLED, OK, UNAVAILABLE, Fleet


def p2c(weights: dict[str, int], **settings: object) -> Fleet:
    return Fleet(weights, picker="p2c", **settings)


def measured(fleet: Fleet, **seconds: float) -> Fleet:
    """The fleet, after some calls that took so long."""
    for name, taken in seconds.items():
        fleet.call(name, seconds=taken, times=3)
    return fleet


def test_without_load_each_is_picked_as_often_as_its_weight_says() -> None:
    picks = p2c({"a": 1, "b": 2, "c": 5}).picks(8000)
    assert picks["a"] == pytest.approx(1000, rel=0.15)
    assert picks["b"] == pytest.approx(2000, rel=0.15)
    assert picks["c"] == pytest.approx(5000, rel=0.15)


def test_one_with_more_calls_in_flight_gets_fewer() -> None:
    fleet = measured(p2c(dict.fromkeys("abcd", 1)), a=0.01, b=0.01, c=0.01, d=0.01)
    for _ in range(20):
        fleet.balancer.began(fleet["a"])
    assert fleet.picks(1000)["a"] < 120  # only when it is drawn twice


def test_calls_in_flight_are_weighed_against_the_weight() -> None:
    fleet = p2c({"a": 1, "b": 3})
    for _ in range(4000):
        fleet.balancer.began(fleet.endpoint())
    assert fleet["b"].in_flight == pytest.approx(3000, rel=0.05)


def test_a_slow_one_gets_fewer_and_another_chance_later() -> None:
    fleet = measured(p2c(dict.fromkeys("abcd", 1)), a=0.01, b=0.01, c=0.01, d=1.0)
    assert fleet.picks(1000)["d"] < 120
    fleet.clock.now += 300
    assert fleet.picks(1000)["d"] > 150


def test_a_latency_rises_at_once_and_falls_slowly() -> None:
    fleet = p2c({"a": 1})
    fleet.call("a", seconds=0.01)
    fleet.call("a", seconds=0.5)
    assert fleet["a"].latency == 0.5
    fleet.clock.now += 1
    fleet.call("a", seconds=0.01)
    assert 0.4 < fleet["a"].latency < 0.5


def test_a_new_one_gets_its_part_of_the_calls_and_not_all_of_them() -> None:
    fleet = measured(p2c(dict.fromkeys("abc", 1)), a=0.05, b=0.05, c=0.05)
    fleet.replace(dict.fromkeys("abcd", 1))
    for _ in range(400):
        fleet.balancer.began(fleet.endpoint())
    assert fleet["d"].in_flight == pytest.approx(100, rel=0.2)


def test_one_that_fails_at_once_does_not_look_quick() -> None:
    fleet = measured(p2c(dict.fromkeys("abcd", 1), eject_after=0), a=0.05, b=0.05, c=0.05)
    fleet.call("d", UNAVAILABLE, seconds=0.0001, times=20)
    assert fleet.picks(1000)["d"] <= 300
    assert fleet["d"].latency >= 0.05


def test_calls_that_take_no_time_at_all_leave_the_number_of_calls_to_decide() -> None:
    fleet = measured(p2c({"a": 1, "b": 1}), a=0.0, b=0.0)
    fleet.clock.now += 100_000
    for _ in range(200):
        fleet.balancer.began(fleet.endpoint())
    assert abs(fleet["a"].in_flight - fleet["b"].in_flight) < 20


def test_one_that_is_not_connected_or_was_tried_is_not_picked() -> None:
    fleet = p2c(dict.fromkeys("abc", 1))
    fleet.down = {"a"}
    assert {fleet.pick(without="b") for _ in range(100)} == {"c"}


def test_a_call_that_was_cancelled_is_not_measured() -> None:
    fleet = p2c({"a": 1})
    fleet.call("a", CANCELLED, seconds=9.0)
    assert (fleet["a"].latency, fleet["a"].in_flight) == (0.0, 0)
    fleet.call("a", OK, seconds=0.1)
    assert fleet["a"].latency == 0.1
