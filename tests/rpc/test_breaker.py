"""Circuit breakers: calls to what fails are not made, until it answers again."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from loguru import logger

from hrpc import errors
from hrpc.option.limits import BreakerSettings
from hrpc.rpc.breaker import Breaker, Breakers, State, Window
from tests.clock import Clock

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """The lines that loguru is given."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{message}")
    yield lines
    logger.remove(sink)


def a_breaker(clock: Clock, **settings: Any) -> Breaker:
    return Breaker("users test.Echo", BreakerSettings(**{"calls": 4, "probes": 2, **settings}), clock)


def ended(breaker: Breaker, *codes: grpc.StatusCode) -> None:
    for code in codes:
        breaker.after(breaker.before(), code)


def opened(clock: Clock, **settings: Any) -> Breaker:
    breaker = a_breaker(clock, **settings)
    ended(breaker, *[UNAVAILABLE] * 4)
    assert breaker.state is State.OPEN
    return breaker


def refuses(breaker: Breaker) -> errors.BreakerOpen:
    with pytest.raises(errors.BreakerOpen) as caught:
        breaker.before()
    return caught.value


def test_it_opens_when_the_share_of_failures_is_reached_and_not_before_there_are_enough_calls(clock: Clock) -> None:
    breaker = a_breaker(clock)
    ended(breaker, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE)
    assert breaker.state is State.CLOSED
    ended(breaker, UNAVAILABLE)
    assert breaker.state is State.OPEN
    breaker = a_breaker(clock)
    ended(breaker, *[OK] * 5, *[UNAVAILABLE] * 4)
    assert breaker.state is State.CLOSED
    ended(breaker, UNAVAILABLE)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_only_codes_that_speak_of_the_service_count_as_failures(clock: Clock, code: grpc.StatusCode) -> None:
    breaker = a_breaker(clock)
    ended(breaker, *[code] * 4)
    bad = code.name in ("DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
    assert breaker.state is (State.OPEN if bad else State.CLOSED)


def test_a_call_that_was_cancelled_counts_neither_way(clock: Clock) -> None:
    breaker = a_breaker(clock)
    ended(breaker, *[grpc.StatusCode.CANCELLED] * 100, *[UNAVAILABLE] * 4)
    assert breaker.state is State.OPEN


def test_failures_outside_of_the_window_are_forgotten(clock: Clock) -> None:
    breaker = a_breaker(clock, window=10.0)
    ended(breaker, *[UNAVAILABLE] * 3)
    clock.now += 11
    ended(breaker, *[UNAVAILABLE] * 3)
    assert breaker.state is State.CLOSED
    clock.now += 5
    ended(breaker, UNAVAILABLE)
    assert breaker.state is State.OPEN


def test_a_window_counts_the_calls_of_its_seconds(clock: Clock) -> None:
    window = Window(10.0)
    for second in range(25):
        window.add(1000.0 + second, failed=second % 2 == 0)
    assert (window.calls, window.failed) == (10, 5)
    window.add(1e6, failed=False)
    assert (window.calls, window.failed) == (1, 0)


def test_while_open_it_says_what_is_refused_and_for_how_long(clock: Clock) -> None:
    breaker = opened(clock, open_for=5.0)
    clock.now += 2
    error = refuses(breaker)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert isinstance(error, errors.ServiceError)
    assert error.code() is UNAVAILABLE
    assert error.name == "users test.Echo"
    assert 3.0 <= error.retry_after <= 4.25
    assert "users test.Echo" in (error.details() or "")
    assert breaker.refused == 1


def test_after_its_time_it_lets_a_few_calls_through_and_closes_when_they_succeed(clock: Clock) -> None:
    breaker = opened(clock, open_for=5.0)
    clock.now += 6.3
    probes = [breaker.before(), breaker.before()]
    refuses(breaker)
    breaker.after(probes[0], OK)
    refuses(breaker)
    breaker.after(probes[1], grpc.StatusCode.NOT_FOUND)
    assert breaker.state is State.CLOSED
    ended(breaker, *[UNAVAILABLE] * 3)
    assert breaker.state is State.CLOSED  # what was before is forgotten


def test_a_probe_that_fails_opens_it_again_for_the_whole_time(clock: Clock) -> None:
    breaker = opened(clock, open_for=5.0)
    clock.now += 6.3
    ended(breaker, OK)
    ended(breaker, UNAVAILABLE)
    assert breaker.state is State.OPEN
    assert refuses(breaker).retry_after >= 5.0


def test_a_probe_that_is_cancelled_makes_room_for_another(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 6.3
    ended(breaker, *[grpc.StatusCode.CANCELLED] * 5)
    ended(breaker, OK, OK)
    assert breaker.state is State.CLOSED


def test_probes_that_never_come_back_do_not_keep_it_shut(clock: Clock) -> None:
    breaker = opened(clock, open_for=5.0)
    clock.now += 6.3
    lost = [breaker.before(), breaker.before()]
    clock.now += 5
    ended(breaker, OK, OK)
    assert breaker.state is State.CLOSED
    breaker.after(lost[0], UNAVAILABLE)
    assert breaker.state is State.CLOSED


def test_it_closes_also_when_calls_are_few_and_far_between(clock: Clock) -> None:
    breaker = opened(clock, open_for=5.0, probes=3)
    for _ in range(3):
        clock.now += 20
        ended(breaker, OK)
    assert breaker.state is State.CLOSED


def test_calls_from_before_it_opened_say_nothing_when_they_end_later(clock: Clock) -> None:
    breaker = a_breaker(clock)
    slow = [breaker.before() for _ in range(5)]
    ended(breaker, *[UNAVAILABLE] * 4)
    clock.now += 6.3
    probe = breaker.before()
    for turn in slow:
        breaker.after(turn, UNAVAILABLE)
    breaker.after(probe, OK)
    ended(breaker, OK)
    assert breaker.state is State.CLOSED


def test_each_change_is_logged_once(clock: Clock, log_lines: list[str]) -> None:
    breaker = opened(clock)
    for _ in range(5):
        refuses(breaker)
    clock.now += 6.3
    ended(breaker, OK, OK)
    assert len(log_lines) == 3
    assert "users test.Echo: the circuit breaker opens" in log_lines[0]
    assert "4 of the last 4 calls have failed, the last one with UNAVAILABLE" in log_lines[0]
    assert "lets 2 calls through" in log_lines[1]
    assert "closes" in log_lines[2]


def test_there_is_one_for_each_service_or_for_each_method(clock: Clock) -> None:
    by_service = Breakers(BreakerSettings(), clock)
    of_x = by_service.breaker("users", "/a.A/X")
    assert of_x is by_service.breaker("users", "/a.A/Y")
    assert of_x is not by_service.breaker("users", "/a.B/X")
    assert of_x is not by_service.breaker("users-beta", "/a.A/X")
    assert of_x.name == "users a.A"
    by_method = Breakers(BreakerSettings(per="method"), clock)
    of_x = by_method.breaker("", "/a.A/X")
    assert of_x is by_method.breaker("", "/a.A/X")
    assert of_x is not by_method.breaker("", "/a.A/Y")
    assert of_x.name == "a.A/X"


def test_an_error_of_an_open_breaker_is_the_same_after_a_pickle(clock: Clock) -> None:
    error = refuses(opened(clock))
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.name, copy.retry_after, copy.code(), str(copy)) == (
        error.name,
        error.retry_after,
        UNAVAILABLE,
        str(error),
    )
