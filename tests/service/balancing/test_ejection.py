"""Endpoints whose calls fail are left out, tried, and let in again."""

from __future__ import annotations

import grpc
import pytest

from tests.service.balancing.endpoints import CANCELLED, OK, UNAVAILABLE, Fleet

CODES = grpc.StatusCode


def failing(names: str = "abcd", **settings: object) -> Fleet:
    """A fleet of which "a" has just been ejected, for 5 to 6.25 s."""
    fleet = Fleet(dict.fromkeys(names, 1), **settings)
    fleet.call("a", UNAVAILABLE, times=5)
    assert fleet.rows()["a"].state == "ejected"
    return fleet


def until_tried(fleet: Fleet) -> None:
    """Waits for as long as "a" is left out."""
    fleet.clock.now = fleet["a"].ejected_until


@pytest.mark.parametrize("code", [CODES.UNAVAILABLE, CODES.DEADLINE_EXCEEDED, CODES.INTERNAL, CODES.DATA_LOSS])
def test_one_is_left_out_after_so_many_failures_in_a_row(code: grpc.StatusCode) -> None:
    fleet = Fleet(dict.fromkeys("abc", 1), eject_after=3)
    fleet.call("a", code, times=2)
    assert "a" in fleet.picks(3)
    fleet.call("a", code)
    assert set(fleet.picks(30)) == {"b", "c"}
    assert "3 calls in a row have failed, the last one with " + code.name in fleet.rows()["a"].why


@pytest.mark.parametrize("code", [CODES.OK, CODES.NOT_FOUND, CODES.RESOURCE_EXHAUSTED, CODES.UNKNOWN])
def test_an_answer_ends_the_row_of_failures(code: grpc.StatusCode) -> None:
    fleet = Fleet(dict.fromkeys("abc", 1), eject_after=3)
    for _ in range(10):
        fleet.call("a", UNAVAILABLE, times=2)
        fleet.call("a", code)
    assert "a" in fleet.picks(3)


def test_a_cancelled_call_says_nothing() -> None:
    fleet = Fleet(dict.fromkeys("abc", 1), eject_after=2)
    fleet.call("a", UNAVAILABLE)
    fleet.call("a", CANCELLED, times=10)
    fleet.call("a", UNAVAILABLE)
    assert fleet.rows()["a"].state == "ejected"


def test_0_leaves_out_none() -> None:
    fleet = Fleet(dict.fromkeys("abc", 1), eject_after=0)
    fleet.call("a", UNAVAILABLE, times=100)
    assert fleet.picks(30)["a"] == 10


def test_when_its_time_is_over_one_call_tries_it() -> None:
    fleet = failing()
    until_tried(fleet)
    assert fleet.picks(30)["a"] == 1
    assert "one call tries it" in fleet.rows()["a"].why
    fleet.call("a", OK)
    fleet.clock.now += 0.05
    assert fleet.picks(40) == dict.fromkeys("abcd", 10)


def test_each_time_that_fails_it_is_left_out_for_longer_up_to_five_minutes() -> None:
    fleet = failing()
    times = []
    for _ in range(10):
        times.append(fleet["a"].ejected_until - fleet.clock.now)
        until_tried(fleet)
        fleet.picks(3)
        fleet.call("a", UNAVAILABLE)
    assert 5 <= times[0] <= 6.25
    assert 10 <= times[1] <= 12.5
    assert 300 <= times[-1] <= 375


def test_after_a_time_of_success_its_next_ejection_is_short_again() -> None:
    fleet = failing()
    until_tried(fleet)
    fleet.picks(3)
    fleet.call("a", OK)
    fleet.clock.now += 1
    fleet.call("a", UNAVAILABLE, times=5)
    assert fleet["a"].ejected_until - fleet.clock.now >= 10  # it was in for a second only
    until_tried(fleet)
    fleet.picks(3)
    fleet.call("a", OK)
    fleet.clock.now += 60
    fleet.call("a", UNAVAILABLE, times=5)
    assert fleet["a"].ejected_until - fleet.clock.now <= 6.25


def test_a_call_that_tries_it_and_never_ends_is_followed_by_another() -> None:
    fleet = failing()
    until_tried(fleet)
    assert fleet.picks(30)["a"] == 1
    fleet.clock.now += 1
    assert fleet.picks(30)["a"] == 0
    fleet.clock.now += 10
    assert fleet.picks(30)["a"] == 1


def test_a_call_that_tries_it_and_is_cancelled_is_followed_by_another() -> None:
    fleet = failing()
    until_tried(fleet)
    assert fleet.picks(30)["a"] == 1
    fleet.call("a", CANCELLED)
    fleet.clock.now += 0.05
    assert fleet.picks(30)["a"] == 1


def test_calls_that_began_before_it_was_tried_say_nothing_of_it() -> None:
    fleet = failing()
    until_tried(fleet)
    fleet.picks(3)
    fleet.clock.now += 1
    fleet.call("a", UNAVAILABLE, seconds=3)
    fleet.call("a", OK, seconds=3)
    assert "one call tries it" in fleet.rows()["a"].why
    fleet.call("a", OK, seconds=0.5)
    fleet.call("a", UNAVAILABLE, seconds=3, times=10)
    assert fleet.rows()["a"].state == "in"


def test_no_more_than_half_are_left_out() -> None:
    fleet = Fleet(dict.fromkeys("abcde", 1))
    for name in "abcde":
        fleet.call(name, UNAVAILABLE, times=10)
    assert [row.state for row in fleet.rows().values()] == ["ejected"] * 2 + ["in"] * 3
    assert set(fleet.picks(30)) == set("cde")


def test_the_only_one_is_never_left_out() -> None:
    fleet = Fleet({"a": 1})
    fleet.call("a", UNAVAILABLE, times=100)
    assert fleet.picks(10) == {"a": 10}


def test_when_others_leave_those_that_were_left_out_first_come_back() -> None:
    fleet = Fleet(dict.fromkeys("abcd", 1))
    for name in "ab":
        fleet.call(name, UNAVAILABLE, times=5)
    fleet.replace({"a": 1, "b": 1})
    assert set(fleet.picks(30)) == {"a"}
    fleet.replace({"b": 1})
    assert set(fleet.picks(30)) == {"b"}


def test_one_that_has_left_the_list_does_not_count_among_those_left_out() -> None:
    fleet = failing("ab")
    fleet.replace(dict.fromkeys("bcd", 1))
    fleet.call("c", UNAVAILABLE, times=5)
    assert fleet.rows()["c"].state == "ejected"


def test_one_that_is_left_out_is_called_when_no_other_is_connected() -> None:
    fleet = failing()
    fleet.down = set("bcd")
    assert set(fleet.picks(30)) == {"a"}
    fleet.clock.now += 1
    assert set(fleet.picks(30)) == {"a"}
    assert "is called all the same" in fleet.rows()["a"].why


def test_one_that_is_left_out_gets_no_call_any_more_in_the_moment_in_which_another_is_connected_again() -> None:
    fleet = failing("ab")
    fleet.down = set("ab")
    assert "no other can be" in fleet.rows()["a"].why
    fleet.down = set()
    assert set(fleet.picks(30)) == {"b"}


def test_one_that_comes_back_begins_slowly() -> None:
    fleet = failing("ab", slow_start=10.0)
    until_tried(fleet)
    fleet.picks(3)
    fleet.call("a", OK)
    fleet.clock.now += 1
    assert fleet.picks(1100)["a"] == pytest.approx(100, abs=5)
    assert fleet.rows()["a"].state == "slow start"
