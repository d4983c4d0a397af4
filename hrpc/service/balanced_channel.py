"""One channel to all instances of a service.

gRPC for Python has no interface for name resolvers (grpc#11685), so there is one real channel for each instance, and a
balancer in front of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import grpc.aio

from hrpc.abc import Instance
from hrpc.option import BalancerSettings, HedgingSettings, RetrySettings
from hrpc.option.retry import covers
from hrpc.rpc.outgoing import Outgoing
from hrpc.service.balancing import Balancer, Endpoint
from hrpc.service.calls.budget import Budget
from hrpc.service.calls.counts import Counts
from hrpc.service.calls.course import Course
from hrpc.service.calls.hedging import Hedged
from hrpc.service.calls.kinds import KINDS
from hrpc.service.calls.method import Method
from hrpc.service.calls.retries import Retries
from hrpc.service.calls.signature import Signature
from hrpc.service.connections import METHODS_AT_MOST, Connections
from hrpc.service.dialing import Dial

FIRST_ANSWER_LIMIT = 5.0
"""Seconds that entering a channel, and a call before it, waits for the registry's first answer."""

_State = grpc.ChannelConnectivity
_FAILING = _State.TRANSIENT_FAILURE


class Source(Protocol):
    """Where a channel learns the instances from."""

    @property
    def name(self) -> str:
        """The name of the service."""

    @property
    def instances(self) -> Sequence[Instance]:
        """The instances now."""

    def age(self) -> float:
        """Seconds since the registry last confirmed the instances; infinite before its first answer."""

    def on_change(self, callback: Any) -> None:
        """Calls back after the first answer and every change of the instances."""

    async def answered(self, timeout: float) -> None:
        """Waits for the registry's first answer, at most `timeout` seconds; raises its error."""


class Channel(grpc.aio.Channel):
    """A ``grpc.aio.Channel`` whose calls are spread over the instances; generated stubs take it as it is."""

    def __init__(
        self,
        source: Source,
        connections: Connections,
        outgoing: Outgoing,
        *,
        balancer: BalancerSettings = BalancerSettings(),  # noqa: B008 - a named tuple, which nobody changes
        zone: str = "",
        retry: RetrySettings = RetrySettings(),  # noqa: B008
        hedging: HedgingSettings = HedgingSettings(),  # noqa: B008
        counts: Counts | None = None,
    ) -> None:
        self.name = source.name
        self.balancer = Balancer(balancer, zone, usable=_is_usable)
        self.counts = Counts() if counts is None else counts
        self.waiting: set[Course] = set()
        """Calls that wait for an instance."""
        self.is_ended = False
        """Whether the server that calls has stopped, and no instance is to come."""
        self._source = source
        self._connections = connections
        self._outgoing = outgoing
        self._retry = retry
        self._hedging = hedging
        self._budget = Budget(retry.budget)
        self._methods: dict[Signature, Callable[..., Any]] = {}
        self._turning = asyncio.Event()
        source.on_change(self._turn)
        self._turn()

    async def __aenter__(self) -> Self:
        await self._source.answered(FIRST_ANSWER_LIMIT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Does nothing: the connections are shared, and end with their instance or with the server."""

    def unary_unary(self, method: str, *codecs: Any, **named: Any) -> Any:
        return self._method("unary_unary", method, *codecs, **named)

    def unary_stream(self, method: str, *codecs: Any, **named: Any) -> Any:
        return self._method("unary_stream", method, *codecs, **named)

    def stream_unary(self, method: str, *codecs: Any, **named: Any) -> Any:
        return self._method("stream_unary", method, *codecs, **named)

    def stream_stream(self, method: str, *codecs: Any, **named: Any) -> Any:
        return self._method("stream_stream", method, *codecs, **named)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The best state among the connections; TRANSIENT_FAILURE when no instance is known."""
        states = {channel.get_state(try_to_connect) for channel in self._channels()}
        order = (_State.READY, _State.CONNECTING, _State.IDLE)
        return next((state for state in order if state in states), _FAILING)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Waits until `get_state` gives something else."""
        while self.get_state() is last_observed_state:
            waits = [
                asyncio.create_task(channel.wait_for_state_change(channel.get_state())) for channel in self._channels()
            ]
            waits.append(asyncio.create_task(self._turned()))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def channel_ready(self) -> None:
        """Waits until one instance is connected."""
        while (state := self.get_state(try_to_connect=True)) is not _State.READY:
            await self.wait_for_state_change(state)

    # For its calls.

    @property
    def is_known(self) -> bool:
        """Whether the registry has answered."""
        return self._source.age() != float("inf")

    def end(self) -> None:
        """The server stops: who waits for an instance waits no more."""
        self.is_ended = True
        self._tell_waiting()

    def first_answer_limit(self) -> float:
        """Seconds for which a call waits when the registry has not answered."""
        return FIRST_ANSWER_LIMIT

    def unavailable(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> grpc.aio.AioRpcError:
        """The error of a call for which there was no instance."""
        if self.balancer.endpoints:
            return self.unreachable("", code)
        if self.is_ended:
            return _error(code, f"service {self.name!r}: the server that calls it has stopped")
        return _error(code, f"service {self.name!r}: no instance passes its checks ({self._since()})")

    def unreachable(self, told: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> grpc.aio.AioRpcError:
        """The error of a call that could not be sent to any instance; `told` is what gRPC says of the last one."""
        known = len(self.balancer.endpoints)
        failing = sum(not _is_usable(endpoint) for endpoint in self.balancer.endpoints)
        reason = told.removeprefix("failed to connect to all addresses; last error: ") or "it was not sent"
        text = f"{failing} of {known} known instances cannot be connected to ({self._since()}); the last one: {reason}"
        return _error(code, f"service {self.name!r}: {text}", told)

    def turned_away(self, told: str) -> grpc.aio.AioRpcError:
        """The error of a call that no instance began, the last one because it stops."""
        known = len(self.balancer.endpoints)
        text = f"the instance that was asked stops, and none of {known} known instances took the call ({self._since()})"
        return _error(grpc.StatusCode.UNAVAILABLE, f"service {self.name!r}: {text}", told)

    def _since(self) -> str:
        return f"as Consul said {self._source.age():.1f} s ago" if self.is_known else "Consul has not answered yet"

    def _method(self, kind: str, path: str, *codecs: Any, **named: Any) -> Callable[..., Any]:
        signature = _signature(kind, path, *codecs, **named)
        found = self._methods.get(signature)
        if found is None:
            if len(self._methods) >= METHODS_AT_MOST:
                self._methods.clear()
            is_hedged = kind == "unary_unary" and covers(self._hedging.methods, path)
            method = Method(
                self,
                signature,
                Hedged.by(self._hedging, self._budget) if is_hedged else KINDS[kind],
                outgoing=self._outgoing,
                balancer=self.balancer,
                retries=Retries(self._retry, path, self._budget, self.counts),
                counts=self.counts,
            )
            found = self._methods[signature] = method.call
        return found

    def _channels(self) -> Iterator[grpc.aio.Channel]:
        return (endpoint.connection.channel for endpoint in self.balancer.endpoints)

    async def _turned(self) -> None:
        await self._turning.wait()

    def _turn(self) -> None:
        """Takes the instances as they are now."""
        found = ((Dial.of(instance), instance) for instance in self._source.instances)
        gone = self.balancer.replace(
            (dial, instance, partial(self._connections.take, dial, id(self))) for dial, instance in found
        )
        for endpoint in gone:
            self._connections.give_back(endpoint.connection, id(self))
        self._turning.set()
        self._turning = asyncio.Event()
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        for call in tuple(self.waiting):
            call.arrived()


def _signature(
    kind: str,
    path: str,
    request_serializer: Any = None,
    response_deserializer: Any = None,
    _registered_method: bool = False,
) -> Signature:
    return Signature(kind, path, request_serializer, response_deserializer, bool(_registered_method))


def _is_usable(endpoint: Endpoint) -> bool:
    return endpoint.connection.channel.get_state() is not _FAILING


def _error(code: grpc.StatusCode, text: str, told: str = "") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), text, told)
