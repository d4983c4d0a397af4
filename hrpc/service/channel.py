"""One channel to all instances of a service.

gRPC for Python has no interface for name resolvers (grpc#11685), so there is one real channel for each instance and a
picker in front of them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import grpc.aio

from hrpc.abc import Instance
from hrpc.rpc.outgoing import Outgoing
from hrpc.service.connections import Connection, Connections
from hrpc.service.dialing import Dial

FIRST_ANSWER_LIMIT = 5.0
"""Seconds that entering a channel waits for the registry's first answer."""

_State = grpc.ChannelConnectivity


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

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back after every change of the instances."""

    async def answered(self, timeout: float) -> None:
        """Waits for the registry's first answer, at most `timeout` seconds; raises its error."""


class Channel(grpc.aio.Channel):
    """A ``grpc.aio.Channel`` whose every call goes to the next instance; generated stubs take it as it is."""

    def __init__(self, source: Source, connections: Connections, outgoing: Outgoing) -> None:
        self._source = source
        self._connections = connections
        self._taken: dict[Dial, Connection] = {}
        self._outgoing = outgoing
        self._next: Iterator[Connection] = iter(())
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
        return self._callable("unary_unary", method, *codecs, **named)

    def unary_stream(self, method: str, *codecs: Any, **named: Any) -> Any:
        return self._callable("unary_stream", method, *codecs, **named)

    def stream_unary(self, method: str, *codecs: Any, **named: Any) -> Any:
        return self._callable("stream_unary", method, *codecs, **named)

    def stream_stream(self, method: str, *codecs: Any, **named: Any) -> Any:
        return self._callable("stream_stream", method, *codecs, **named)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The best state among the connections; TRANSIENT_FAILURE when no instance is known."""
        states = {connection.channel.get_state(try_to_connect) for connection in self._taken.values()}
        order = (_State.READY, _State.CONNECTING, _State.IDLE)
        return next((state for state in order if state in states), _State.TRANSIENT_FAILURE)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Waits until `get_state` gives something else."""
        while self.get_state() is last_observed_state:
            channels = [connection.channel for connection in self._taken.values()]
            waits = [asyncio.create_task(channel.wait_for_state_change(channel.get_state())) for channel in channels]
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

    def _callable(
        self,
        kind: str,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool = False,
    ) -> Callable[..., Any]:
        going, streaming = self._outgoing, kind.endswith("_stream")
        breaker, begin = going.breaker(method, self._source.name), going.tracing(method, self._source.name)

        def call(*request: Any, timeout: float | None = None, metadata: Any = None, **rest: Any) -> Any:
            connection = self._pick()
            real = connection.callable(kind, method, request_serializer, response_deserializer)
            turn = 0 if breaker is None else breaker.before()
            span = None
            try:
                span = None if begin is None else begin(connection.dial.endpoint)
                timeout = going.timeout(timeout)
                metadata = going.metadata(metadata, timeout, span)
                made = real(*request, timeout=timeout, metadata=metadata, **rest)
            except BaseException as error:
                going.failed(error, breaker=breaker, turn=turn, span=span)
                raise
            return going.made(made, streaming=streaming, breaker=breaker, turn=turn, span=span)

        return call

    def _pick(self) -> Connection:
        """The next connection that is not known to fail; when all of them are, the next one."""
        connection = next(self._next, None)
        if connection is None:
            raise self._unavailable()
        for _ in range(len(self._taken) - 1):
            if connection.channel.get_state() is not _State.TRANSIENT_FAILURE:
                break
            connection = next(self._next)
        return connection

    def _unavailable(self) -> grpc.aio.AioRpcError:
        age = self._source.age()
        since = "Consul has not answered yet" if age == float("inf") else f"as Consul said {age:.1f} s ago"
        return grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE,
            grpc.aio.Metadata(),
            grpc.aio.Metadata(),
            details=f"service {self._source.name!r}: no instance passes its checks ({since})",
        )

    async def _turned(self) -> None:
        await self._turning.wait()

    def _turn(self) -> None:
        dials = dict.fromkeys(Dial.of(instance) for instance in self._source.instances)
        before, self._taken = self._taken, {}
        for dial in dials:
            kept = before.pop(dial) if dial in before else None
            self._taken[dial] = kept or self._connections.take(dial, id(self))
        self._next = itertools.cycle(self._taken.values())
        self._turning.set()
        self._turning = asyncio.Event()
        for connection in before.values():
            self._connections.give_back(connection, id(self))
