"""Slow start: a new endpoint gets its part of the calls little by little."""

from __future__ import annotations

import pytest

from tests.service.balancing.endpoints import Fleet


@pytest.mark.parametrize("picker", ["weighted_round_robin", "p2c"])
def test_the_weight_of_a_new_one_grows_with_the_seconds(picker: str) -> None:
    fleet = Fleet({"a": 10}, picker=picker, slow_start=20.0)
    fleet.replace({"a": 10, "b": 10})
    parts = []
    for _ in range(4):
        fleet.clock.now += 5
        parts.append(fleet.picks(2000)["b"] / 2000)
    assert parts == pytest.approx([0.2, 0.333, 0.43, 0.5], abs=0.05)


def test_it_gets_some_calls_from_the_beginning() -> None:
    fleet = Fleet({"a": 1}, slow_start=20.0)
    fleet.replace({"a": 1, "b": 1})
    assert fleet.picks(210)["b"] == pytest.approx(10, abs=1)
    assert (fleet.rows()["b"].state, fleet.rows()["b"].why) == ("slow start", "for 0.0 of 20 s")


def test_those_that_are_there_from_the_beginning_begin_at_once() -> None:
    fleet = Fleet({"a": 1, "b": 1}, slow_start=20.0)
    fleet.clock.now += 1
    fleet.replace({"a": 1, "b": 1})
    assert fleet.picks(10) == {"a": 5, "b": 5}
    assert fleet.rows()["a"].state == "in"


def test_a_new_one_is_called_at_its_whole_weight_when_nothing_else_is_asked_for() -> None:
    fleet = Fleet({"a": 1})
    fleet.replace({"a": 1, "b": 1})
    assert fleet.picks(10) == {"a": 5, "b": 5}
