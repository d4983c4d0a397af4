"""Weighted round robin: fair, even, and steady while the list changes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.service.balancing.endpoints import Fleet

WEIGHTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 12), min_size=1)
SEEDS = st.integers(0, 1000)


def test_there_is_none_to_pick_without_endpoints() -> None:
    assert Fleet({}).balancer.pick() is None


@given(WEIGHTS, SEEDS, st.integers(0, 30))
def test_in_one_round_each_is_picked_as_often_as_its_weight_says_wherever_the_round_begins(
    weights: dict[str, int], seed: int, before: int
) -> None:
    fleet = Fleet(weights, seed=seed)
    fleet.picks(before)
    picks = fleet.picks(sum(weights.values()) * 3)
    for name, weight in weights.items():
        assert abs(picks[name] - 3 * weight) <= 1  # two that are due at the same moment, to a rounding


def test_the_turns_of_a_heavy_one_are_spread_over_the_round() -> None:
    fleet = Fleet({"heavy": 5, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1})
    picked = [fleet.pick() for _ in range(200)]
    apart = [index for index, name in enumerate(picked) if name == "heavy"]
    assert max(after - before for before, after in pairwise(apart)) <= 6


@given(WEIGHTS, WEIGHTS, SEEDS)
def test_a_new_list_is_used_at_once_and_fairly(before: dict[str, int], after: dict[str, int], seed: int) -> None:
    fleet = Fleet(before, seed=seed)
    fleet.picks(7)
    assert sorted(fleet.replace(after)) == sorted(before.keys() - after.keys())
    picks = fleet.picks(sum(after.values()))
    assert picks.keys() == after.keys()


def test_a_weight_that_grows_counts_at_once() -> None:
    fleet = Fleet({"a": 100, "b": 1})
    fleet.replace({"a": 100, "b": 100})
    assert abs(fleet.picks(20)["b"] - 10) <= 1


def test_the_same_list_again_and_again_changes_no_turn() -> None:
    weights = {"a": 1, "b": 2, "c": 3}
    still, told = Fleet(weights), Fleet(weights)
    expected, got = [], []
    for _ in range(60):
        told.replace(weights)
        expected.append(still.pick())
        got.append(told.pick())
    assert got == expected


def test_callers_that_learn_of_a_new_one_at_the_same_time_do_not_all_call_it_first() -> None:
    first: Counter[str] = Counter()
    for seed in range(300):
        fleet = Fleet(dict.fromkeys("abc", 1), seed=seed)
        fleet.picks(seed % 3)
        fleet.replace(dict.fromkeys("abcd", 1))
        first[fleet.pick()] += 1
    assert 20 < first["d"] < 150


def test_one_that_was_out_has_no_turns_to_catch_up_with() -> None:
    fleet = Fleet({"a": 1, "b": 1})
    fleet.down = {"b"}
    fleet.picks(100)
    fleet.down = set()
    fleet.clock.now += 1
    assert fleet.picks(10) == {"a": 5, "b": 5}


def test_a_weight_of_0_gets_calls_only_when_there_is_no_other() -> None:
    fleet = Fleet({"a": 1, "spare": 0})
    assert fleet.picks(10) == {"a": 10}
    assert fleet.rows()["spare"].state == "reserve"
    fleet.down = {"a"}
    assert fleet.picks(10) == {"spare": 10}
    fleet.replace({"spare": 0, "other": 0})
    assert fleet.picks(10) == {"spare": 5, "other": 5}


def test_a_call_that_is_made_again_goes_to_another() -> None:
    fleet = Fleet({"a": 1, "b": 1, "c": 1})
    for _ in range(20):
        assert fleet.pick(without="ab") == "c"
    assert fleet.pick(without="abc") in "abc"


def test_one_that_is_not_connected_is_not_picked_while_another_is() -> None:
    fleet = Fleet({"a": 1, "b": 1, "c": 1})
    for down in ({"a"}, {"a", "b"}, {"c"}, {"b", "c"}):
        fleet.down = down
        assert not down & set(fleet.picks(30))
        fleet.clock.now += 1
        assert set(fleet.picks(30)) == set("abc") - down
    fleet.down = set("abc")
    assert set(fleet.picks(30)) <= set("abc")
    assert fleet.rows()["a"].state == "not connected"
