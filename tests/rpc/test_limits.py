"""The limits by themselves, at a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

import hrpc
from hrpc import errors
from hrpc.abc import Admission
from hrpc.option import fold
from hrpc.option.limits import Rate
from hrpc.rpc.guard.guards import Guards
from hrpc.rpc.guard.lag import LoopLag
from hrpc.rpc.guard.rate import Bucket
from tests.clock import Clock

ECHO, JOIN = "/test.Echo/Echo", "/test.Echo/Join"
JOIN_KEY = JOIN.removeprefix("/")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def guards(*options: hrpc.Option, clock: Clock | None = None) -> Guards:
    return Guards(fold([hrpc.with_server_name("guards"), *options], {}), clock or Clock())


def gate(found: Guards, path: str) -> Admission:
    admission = found.admission(path)
    assert admission is not None
    return admission


def admitted(gate: Admission, times: int) -> int:
    """How many of so many calls it lets in."""
    refused = 0
    for _ in range(times):
        try:
            gate.admit()
        except errors.Overloaded:
            refused += 1
    return times - refused


def refusal(gate: Admission) -> errors.Overloaded:
    with pytest.raises(errors.Overloaded) as caught:
        gate.admit()
    return caught.value


def test_a_rate_lets_its_burst_in_at_once_and_then_so_many_a_second(clock: Clock) -> None:
    only = gate(guards(hrpc.with_rate_limit(10, burst=5), clock=clock), ECHO)
    assert admitted(only, 20) == 5
    clock.now += 0.3
    assert admitted(only, 20) == 3
    clock.now += 3600
    assert admitted(only, 20) == 5


@given(
    per_second=st.floats(0.01, 1e6),
    burst=st.integers(1, 1000),
    pauses=st.lists(st.floats(0, 100), max_size=50),
)
def test_no_more_calls_come_in_than_the_rate_allows_and_a_wait_that_is_told_is_long_enough(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    clock = Clock()
    began, taken = clock.now, 0
    bucket = Bucket(Rate(per_second, burst), clock=clock)
    for pause in pauses:
        clock.now += pause
        if wait := bucket.wait():
            clock.now += wait
            assert bucket.wait() < 1e-6
            continue
        bucket.take()
        taken += 1
    assert taken <= burst + (clock.now - began) * per_second + 1e-6 * (len(pauses) + 1)


def test_a_refusal_says_when_there_is_room_and_spreads_those_who_come_back(clock: Clock) -> None:
    only = gate(guards(hrpc.with_rate_limit(2, burst=1), clock=clock), ECHO)
    only.admit()
    hints = [refusal(only).retry_after for _ in range(50)]
    assert all(hint is not None and 0.5 <= hint <= 1.0 for hint in hints)
    assert len(set(hints)) > 8


def test_a_call_needs_a_place_in_each_limit_that_covers_it_and_takes_none_when_one_has_none(clock: Clock) -> None:
    found = guards(
        hrpc.with_rate_limit(1, burst=3, methods={"test.Echo": (1, 2), JOIN_KEY: (1, 1)}),
        hrpc.with_concurrency_limit(10, methods={JOIN_KEY: 5}),
        clock=clock,
    )
    echo, join, other = gate(found, ECHO), gate(found, JOIN), gate(found, "/other.O/X")
    assert admitted(join, 5) == 1
    assert admitted(echo, 5) == 1
    assert admitted(other, 5) == 1
    assert found.refusals.counts["rate"] == 12
    assert found.taken == {"": 3, JOIN_KEY: 1}


def test_places_are_given_back(clock: Clock) -> None:
    found = guards(hrpc.with_concurrency_limit(3, methods={JOIN_KEY: 1}), clock=clock)
    echo, join = gate(found, ECHO), gate(found, JOIN)
    assert admitted(join, 2) == 1
    assert admitted(echo, 5) == 2
    join.release()
    assert admitted(echo, 5) == 1
    for _ in range(3):
        echo.release()
    assert admitted(echo, 5) == 3
    assert "at once" in refusal(echo).message


def test_none_exempts_a_method_or_a_service_and_the_nearest_counts(clock: Clock) -> None:
    limits: dict[str, Any] = {"test.Echo": None, JOIN_KEY: 1, "other.O": 1, "other.O/X": None}
    found = guards(hrpc.with_rate_limit(1, methods=limits), hrpc.with_concurrency_limit(1, lag=0.1, methods=limits))
    assert found.admission(ECHO) is None
    assert found.admission("/other.O/X") is None
    assert admitted(gate(found, JOIN), 3) == 1
    assert admitted(gate(found, "/other.O/Y"), 3) == 0  # the server's one place is taken


@pytest.mark.parametrize(
    "path", ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
)
def test_the_servers_own_services_have_no_limit(path: str) -> None:
    assert guards(hrpc.with_rate_limit(1), hrpc.with_concurrency_limit(1, lag=0.1)).admission(path) is None


def test_a_server_without_limits_has_no_gate() -> None:
    found = guards()
    assert found.admission(ECHO) is None
    assert found.auth(ECHO) is None


async def nobody(_: Any) -> None: ...


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: hrpc.with_rate_limit(),
        lambda: hrpc.with_rate_limit(burst=3, methods={"a.A": 1}),
        lambda: hrpc.with_rate_limit(0),
        lambda: hrpc.with_rate_limit(float("nan")),
        lambda: hrpc.with_rate_limit(True),
        lambda: hrpc.with_rate_limit(1, burst=0),
        lambda: hrpc.with_rate_limit(1, methods={"a.A": -1}),
        lambda: hrpc.with_rate_limit(1, methods={"a.A": (1, 2, 3)}),  # type: ignore[dict-item]
        lambda: hrpc.with_rate_limit(1, methods={"a.A/": 1}),
        lambda: hrpc.with_concurrency_limit(),
        lambda: hrpc.with_concurrency_limit(0),
        lambda: hrpc.with_concurrency_limit(methods={"a.A": 1.5}),  # type: ignore[dict-item]
        lambda: hrpc.with_concurrency_limit(methods={"": 1}),
        lambda: hrpc.with_concurrency_limit(lag=0),
        lambda: hrpc.with_auth(lambda call: None),  # type: ignore[arg-type, return-value]
        lambda: hrpc.with_auth(nobody, methods={"a.A": "b"}),  # type: ignore[dict-item]
        lambda: hrpc.with_circuit_breaker(failures=0),
        lambda: hrpc.with_circuit_breaker(failures=50),
        lambda: hrpc.with_circuit_breaker(calls=0),
        lambda: hrpc.with_circuit_breaker(window=0),
        lambda: hrpc.with_circuit_breaker(open_for=-1),
        lambda: hrpc.with_circuit_breaker(per="call"),  # type: ignore[arg-type]
    ],
)
def test_an_option_that_cannot_work_is_an_error_that_names_it(wrong: Any) -> None:
    with pytest.raises(errors.OptionError, match=r"hrpc\.with_"):
        wrong()


def test_an_object_with_an_async_call_is_an_auth_function() -> None:
    class Keys:
        async def __call__(self, call: Any) -> None: ...

    assert hrpc.with_auth(Keys()).name == "with_auth"


# Shedding, by the lag that the test tells.


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines that loguru is given."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{message}")
    yield lines
    logger.remove(sink)


def looks(lag: LoopLag, clock: Clock, *late: float) -> None:
    """Lets the event loop be so late, one time after the other."""
    for seconds in late:
        clock.now += 0.05 + seconds
        lag.observe(clock.now - seconds, clock.now)


def test_a_loop_that_is_late_for_a_moment_sheds_nothing(clock: Clock) -> None:
    lag = LoopLag(0.05, clock)
    looks(lag, clock, 0.0, 0.09, 0.0, 0.09, 0.0, 0.04, 0.04, 0.04, 0.04)
    assert lag.share == 0


def test_the_share_that_is_shed_grows_with_the_lag_and_is_never_all(clock: Clock) -> None:
    lag = LoopLag(0.05, clock)
    looks(lag, clock, 0.1, 0.1)
    assert lag.share == pytest.approx(0.5)
    looks(lag, clock, 0.5)
    assert lag.share == pytest.approx(0.9)
    looks(lag, clock, 60)
    assert 0.99 < lag.share < 1


def test_shedding_ends_within_a_quarter_of_a_second(clock: Clock) -> None:
    lag = LoopLag(0.05, clock)
    looks(lag, clock, 0.5)
    began = clock.now
    while lag.share:
        looks(lag, clock, 0.0)
    assert clock.now - began <= 0.25


def test_the_share_of_calls_is_refused_and_told_when_to_come_back(
    clock: Clock, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrpc.rpc.guard.lag.random", Random(1))
    found = guards(hrpc.with_concurrency_limit(lag=0.05), clock=clock)
    lag = found.lag
    only = gate(found, ECHO)
    assert admitted(only, 100) == 100
    looks(lag, clock, 0.5)
    assert 60 <= admitted(only, 1000) <= 140
    assert found.refusals.counts["lag"] == lag.shed >= 860
    hints = []
    for _ in range(100):
        try:
            only.admit()
        except errors.Overloaded as error:
            hints.append(error.retry_after)
    assert all(hint is not None and 0.5 <= hint <= 1.0 for hint in hints)
    looks(lag, clock, 0.0, 0.6, 0.0, 0.7)
    assert len(log) == 1
    assert "the event loop is 0.500 s late" in log[0]
    assert "hrpc.with_concurrency_limit(lag=0.05)" in log[0]
    clock.now += 10
    looks(lag, clock, 5.0)
    assert "calls are shed" in log[1]


def test_a_call_that_waits_to_be_taken_counts_as_lag_while_it_waits_and_after(clock: Clock) -> None:
    lag = LoopLag(0.05, clock)
    with lag.waiting():
        looks(lag, clock, 0.0)
        assert lag.share == 0
        looks(lag, clock, *[0.0] * 4)
        assert lag.share == pytest.approx(0.8)
    looks(lag, clock, 0.0)
    assert lag.share == pytest.approx(0.8)
    with lag.waiting():
        clock.now += 0.002
    looks(lag, clock, *[0.0] * 5)
    assert lag.share == 0


def test_the_longest_lag_is_remembered_for_a_while(clock: Clock) -> None:
    lag = LoopLag(clock=clock)
    looks(lag, clock, 0.0, 7.0, 0.2)
    assert lag.longest == pytest.approx(7.0)
    looks(lag, clock, *[0.01] * 150)
    assert lag.longest == pytest.approx(7.0)
    looks(lag, clock, *[0.01] * 200)
    assert lag.longest == pytest.approx(0.01)
    assert lag.share == 0
