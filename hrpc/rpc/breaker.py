"""Not calling a service that fails: circuit breakers on the caller's side."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum

import grpc

from hrpc import log
from hrpc.errors import BreakerOpen
from hrpc.metrics.measures import Measures
from hrpc.option.limits import BreakerSettings

FAILURES = frozenset(
    {
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""The codes that say something of the service, and not of the call."""

_OK, _CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
_CELLS = 10
_JITTER = 0.25


class State(StrEnum):
    """Whether calls are made: all of them, none, or a few to find out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# Looking up a member of an enum costs as much as the rest of a call's count.
_CLOSED, _HALF_OPEN = State.CLOSED, State.HALF_OPEN


class Window:
    """The calls of the last seconds, and how many of them have failed, to a tenth of the window."""

    __slots__ = ("_cells", "_counted", "_ends", "_width", "calls", "failed")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _CELLS
        self.clear()

    def clear(self) -> None:
        """Forgets all of them."""
        self.calls = self.failed = 0
        self._ends = float("-inf")
        # The calls and failures of the full cells, oldest first, and their sums; the rest is of the cell that fills.
        self._cells: deque[tuple[int, int]] = deque([(0, 0)] * (_CELLS - 1))
        self._counted = (0, 0)

    def add(self, now: float, failed: bool) -> None:
        """Counts a call that ended `now`, in seconds of a monotonic clock."""
        if now >= self._ends:
            self._turn(now)
        self.calls += 1
        if failed:
            self.failed += 1

    def _turn(self, now: float) -> None:
        for _ in range(int(min(_CELLS, 1 + (now - self._ends) // self._width))):
            calls, failed = self._counted
            self._cells.append((self.calls - calls, self.failed - failed))
            oldest_calls, oldest_failed = self._cells.popleft()
            self.calls -= oldest_calls
            self.failed -= oldest_failed
            self._counted = self.calls, self.failed
        self._ends = (now // self._width + 1) * self._width


class Breaker:
    """The breaker of one service or method. Not safe for threads: calls begin and end on the event loop."""

    def __init__(self, name: str, settings: BreakerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """`name` says in logs and errors what is called."""
        self.name = name
        self.state = State.CLOSED
        self.refused = 0
        self._settings = settings
        self._clock = clock
        self._window = Window(settings.window)
        # Each state has its number: a call that ends in another state than it began in says nothing about that one.
        self._turn = 0
        self._until = 0.0
        self._probing = 0
        self._succeeded = 0

    def before(self) -> int:
        """A call is about to be made; gives what to hand to `after`. Raises `BreakerOpen`."""
        if self.state is not _CLOSED:
            self._probe()
        return self._turn

    def after(self, turn: int, code: grpc.StatusCode) -> None:
        """The call that `before` gave `turn` for has ended."""
        if turn != self._turn:
            return
        if self.state is _HALF_OPEN:
            self._probed(code)
        elif code is _OK:
            self._window.add(self._clock(), False)
        elif code is not _CANCELLED:
            self._window.add(self._clock(), code in FAILURES)
            self._weigh(code)

    def _weigh(self, code: grpc.StatusCode) -> None:
        calls, failed, settings = self._window.calls, self._window.failed, self._settings
        if code in FAILURES and calls >= settings.calls and failed >= calls * settings.failures:
            self._open(f"{failed} of the last {calls} calls have failed, the last one with {code.name}")

    def _probe(self) -> None:
        now = self._clock()
        if now >= self._until:
            if self.state is State.OPEN:
                log.info("{}: the circuit breaker lets {} calls through to try", self.name, self._settings.probes)
                self._enter(State.HALF_OPEN)
            else:
                # Those that were let through have not come back for so long that others have to find out.
                self._turn += 1
                self._probing = 0
            self._until = now + self._settings.open_for
        if self.state is State.OPEN or self._probing + self._succeeded >= self._settings.probes:
            self.refused += 1
            raise BreakerOpen(self.name, self._until - now)
        self._probing += 1

    def _probed(self, code: grpc.StatusCode) -> None:
        self._probing -= 1
        if code in FAILURES:
            self._open(f"a call that was let through to try has failed with {code.name}")
        elif code is not _CANCELLED:
            self._succeeded += 1
            if self._succeeded >= self._settings.probes:
                self._enter(State.CLOSED)
                self._window.clear()
                log.info("{}: the circuit breaker closes, calls are made again", self.name)

    def _open(self, reason: str) -> None:
        wait = self._settings.open_for * (1 + _JITTER * random.random())
        self._until = self._clock() + wait
        self._enter(State.OPEN)
        log.warning("{}: the circuit breaker opens, calls fail at once for {:.1f} s: {}", self.name, wait, reason)

    def _enter(self, state: State) -> None:
        self.state = state
        self._turn += 1
        self._probing = self._succeeded = 0


class Breakers:
    """The breakers of one server: one for each service or method that it calls."""

    def __init__(self, settings: BreakerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._breakers: dict[tuple[str, ...], Breaker] = {}

    def breaker(self, service: str, method: str) -> Breaker:
        """The one for ``/package.Service/Method`` of `service`, which is its name in Consul, or empty."""
        path = method.removeprefix("/")
        scope = path if self._settings.per == "method" else path.rpartition("/")[0]
        breaker = self._breakers.get((service, scope))
        if breaker is None:
            name = f"{service} {scope}".lstrip()
            breaker = self._breakers[service, scope] = Breaker(name, self._settings, self._clock)
        return breaker

    def measure(self, measures: Measures) -> None:
        """Adds what is told of the breakers when metrics are scraped."""
        labels = ("service", "scope")
        measures.gauge(
            "hrpc_breaker_open",
            "1 while calls to a service are not made, or only some to try.",
            lambda: {key: float(breaker.state is not _CLOSED) for key, breaker in self._breakers.items()},
            labels,
            workers="max",
        )
        measures.counter(
            "hrpc_breaker_refused",
            "Calls that were not made, because too many had failed.",
            lambda: {key: breaker.refused for key, breaker in self._breakers.items()},
            labels,
        )
