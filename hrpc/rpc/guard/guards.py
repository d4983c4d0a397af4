"""Which guards stand before which method; decided once per method, when the server starts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import grpc.aio

from hrpc.abc import Admission
from hrpc.errors import Unauthenticated
from hrpc.metrics.measures import Measures
from hrpc.option import Settings
from hrpc.option.limits import AuthFunction
from hrpc.option.settings import of_method
from hrpc.rpc.call import Call
from hrpc.rpc.guard.concurrency import Places
from hrpc.rpc.guard.gate import Gate, Refusals
from hrpc.rpc.guard.lag import LoopLag
from hrpc.rpc.guard.probe import probed
from hrpc.rpc.guard.rate import Bucket
from hrpc.rpc.method import Auth, of_the_server

T = TypeVar("T")


class Guards:
    """The guards of one running server."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self.lag = LoopLag(settings.concurrency.lag, clock)
        self.refusals = Refusals()
        rates, concurrency = settings.rate_limits, settings.concurrency
        self._buckets = {scope: Bucket(rate, scope, clock) for scope, rate in _given(rates.server, rates.methods)}
        self._places = {scope: Places(calls, scope) for scope, calls in _given(concurrency.server, concurrency.methods)}

    @property
    def taken(self) -> Mapping[str, int]:
        """The places that are taken now: of the server, which has no name, and of its services and methods."""
        return {scope: places.taken for scope, places in self._places.items()}

    def named(self) -> Mapping[str, Iterable[str]]:
        """The services and methods that each option names."""
        auth = self._settings.auth
        return {
            "hrpc.with_rate_limit": self._settings.rate_limits.methods,
            "hrpc.with_concurrency_limit": self._settings.concurrency.methods,
            "hrpc.with_auth": () if auth is None else auth.methods,
        }

    @asynccontextmanager
    async def watching(self, target: str | None) -> AsyncIterator[None]:
        """Measures the running event loop for as long as the context lasts, when somebody wants to know.

        `target` is where the server can be called, to see how long calls wait; None when it takes them at once.
        """
        s = self._settings
        async with AsyncExitStack() as stack:
            if s.concurrency.lag is not None or s.metrics_port is not None:
                stack.enter_context(self.lag.measured())
            if s.concurrency.lag is not None and target is not None:
                await stack.enter_async_context(probed(target, self.lag))
            yield

    def measure(self, measures: Measures) -> None:
        """Adds what is told of the guards when metrics are scraped."""
        measures.counter(
            "hrpc_refused", "Calls that a limit of the server has refused.", lambda: self.refusals.counts, ("limit",)
        )
        measures.gauge(
            "hrpc_event_loop_lag_seconds",
            "The longest that something due has waited for the event loop, in the last 10 to 20 seconds.",
            lambda: self.lag.longest,
            workers="max",
        )

    def admission(self, path: str) -> Admission | None:
        """What has to let a call of ``/package.Service/Method`` in; None when it has no limit."""
        if of_the_server(path):
            return None
        concurrency, rates = self._settings.concurrency, self._settings.rate_limits
        limited = not _exempt(concurrency.methods, path)
        lag = self.lag if limited and concurrency.lag is not None else None
        places = _covering(self._places, path) if limited else []
        buckets = [] if _exempt(rates.methods, path) else _covering(self._buckets, path)
        if lag is None and not places and not buckets:
            return None
        return Gate(lag, places, buckets, self.refusals)

    def auth(self, path: str) -> Auth | None:
        """What has to let the caller of ``/package.Service/Method`` in; None when everybody may call it."""
        auth = self._settings.auth
        if auth is None or path.startswith("/grpc.health.v1."):
            return None
        function = of_method(auth.methods, path, auth.function)
        return None if function is None else _asking(function)


def _asking(function: AuthFunction) -> Auth:
    async def ask(call: Call) -> None:
        identity = await function(call)
        if call.aborted:
            raise grpc.aio.AbortError("the auth function has aborted the call")
        if identity is False:
            raise Unauthenticated
        call.context.identity = identity

    return ask


def _service(method: str) -> str:
    return method.rpartition("/")[0]


def _given(server: T | None, methods: Mapping[str, T | None]) -> Iterator[tuple[str, T]]:
    if server is not None:
        yield "", server
    for scope, limit in methods.items():
        if limit is not None:
            yield scope, limit


def _covering(limits: Mapping[str, T], path: str) -> list[T]:
    method = path.removeprefix("/")
    return [limits[scope] for scope in (method, _service(method), "") if scope in limits]


def _exempt(methods: Mapping[str, object], path: str) -> bool:
    return of_method(methods, path, True) is None
