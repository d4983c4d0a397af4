"""What tells developers about a running server: reflection and channelz. Extras, imported only when they are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from importlib.util import find_spec
from typing import Any

from hrpc.errors import OptionError
from hrpc.option import Environment, Settings
from hrpc.rpc.recorder import Recorder

_V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
_V1_ALPHA = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


class Diagnostics:
    """The services that a server offers to developers, as its settings and its environment say."""

    def __init__(self, settings: Settings) -> None:
        """Raises `OptionError` when one is wanted that is not installed."""
        self._reflection = _offered("with_reflection", settings.reflection, "grpc_reflection", settings.environment)
        self._channelz = _offered("with_channelz", settings.channelz, "grpc_channelz", settings.environment)
        self._ended = asyncio.Event()

    def add_to(self, own: Recorder, services: Collection[str]) -> None:
        """Registers them beside the server's own services; `services` are the names that reflection lists as well."""
        if self._channelz:
            from grpc_channelz.v1 import channelz, channelz_pb2_grpc

            channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz.aio.ChannelzServicer(), own)
        if self._reflection:
            self._add_reflection(own, services)

    def end_streams(self) -> None:
        """Ends the open questions: a client may keep its stream for hours, and the stop waits for streams."""
        self._ended.set()

    def _add_reflection(self, own: Recorder, services: Collection[str]) -> None:
        from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

        ended = self._ended

        class Servicer(reflection.aio.ReflectionServicer):  # type: ignore[misc]
            async def ServerReflectionInfo(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
                async for answer in super().ServerReflectionInfo(_until(ended, requests), context):
                    yield answer

        names = {*services, *own.services, reflection.SERVICE_NAME}
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(Servicer(names), own)
        # Newer clients ask for v1 first; its messages are the same on the wire.
        own.methods[_V1] = own.methods[_V1_ALPHA]


def _offered(option: str, wanted: bool | None, package: str, environment: Environment) -> bool:
    if wanted is False or (wanted is None and environment is Environment.PRODUCTION):
        return False
    installed = find_spec(package) is not None
    if wanted and not installed:
        raise OptionError(f"hrpc.{option}() needs a package: pip install 'hrpc[reflection]'")
    return installed


async def _until(ended: asyncio.Event, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The requests, until the client or the server ends."""
    ending = asyncio.ensure_future(ended.wait())
    try:
        while True:
            coming = asyncio.ensure_future(_next(requests))
            try:
                await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                coming.cancel()
            if not coming.done() or (request := coming.result()) is None:
                return
            yield request
    finally:
        ending.cancel()


async def _next(requests: AsyncIterator[Any]) -> Any:
    return await anext(requests, None)
