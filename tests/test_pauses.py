"""The pauses between attempts."""

from __future__ import annotations

from itertools import pairwise

from hrpc.pauses import Pauses


def test_pauses_double_up_to_the_longest_with_half_of_each_at_random() -> None:
    pauses = Pauses(0.1, 0.5)
    made = [pauses.next() for _ in range(100)]
    assert all(whole / 2 <= pause <= whole for whole, pause in zip((0.1, 0.2, 0.4), made, strict=False))
    assert all(0.25 <= pause <= 0.5 for pause in made[3:])
    assert all(one != other for one, other in pairwise(made))


def test_when_all_is_well_they_begin_anew() -> None:
    pauses = Pauses(0.1, 60.0)
    for _ in range(10):
        pauses.next()
    pauses.begin_anew()
    assert 0.05 <= pauses.next() <= 0.1
    assert 0.1 <= pauses.next() <= 0.2
