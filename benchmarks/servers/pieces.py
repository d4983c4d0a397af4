"""grpc.aio with a method for each piece of hrpc's wrapper: what it costs where it runs, in one process."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import getrandbits
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio

from benchmarks import echo_pb2
from benchmarks.hot_loop import PATH, routed
from benchmarks.servers import echo
from benchmarks.servers.full import PIECES
from hrpc import context
from hrpc.metrics.calls import Calls

Behaviour = Callable[[Any, Any], Awaitable[Any]]

METHODS = {
    "Empty": "a coroutine around the handler",
    "Asked": "metadata, peer and deadline asked of grpc.aio",
    "Ids": "24 random bytes as two texts",
    "Context": "the context of a call without metadata",
    "Counts": "the counts of a method",
}


def behaviours(say: Behaviour) -> dict[str, Behaviour]:
    """`say` behind one piece each."""
    counts = Calls().method(f"/{echo.SERVICE}/Counts", False, False)

    async def empty(request: Any, call: Any) -> Any:
        return await say(request, call)

    async def asked(request: Any, call: Any) -> Any:
        call.invocation_metadata()
        call.peer()
        call.time_remaining()
        return await say(request, call)

    async def ids(request: Any, call: Any) -> Any:
        both = f"{getrandbits(192):048x}"
        _ = both[:32], both[32:]
        return await say(request, call)

    async def in_context(request: Any, call: Any) -> Any:
        context.enter(context.from_metadata((), "ipv4:127.0.0.1:40000"))
        return await say(request, call)

    async def counted(request: Any, call: Any) -> Any:
        began = counts.begin()
        try:
            return await say(request, call)
        finally:
            counts.end(began, grpc.StatusCode.OK, "4bf92f3577b34da6a3ce929d0e0e4736")

    return {"Empty": empty, "Asked": asked, "Ids": ids, "Context": in_context, "Counts": counted}


class Wrapped(grpc.GenericRpcHandler):
    """A method that hrpc's own router finds, as if its name were that of another."""

    def __init__(self, router: grpc.GenericRpcHandler) -> None:
        self._router = router

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        """The handler of that method."""
        if handler_call_details.method != f"/{echo.SERVICE}/Wrapped":
            return None
        metadata = handler_call_details.invocation_metadata
        details: Any = SimpleNamespace(method=PATH, invocation_metadata=metadata)
        return self._router.service(details)


async def main(arguments: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                behaviour, echo_pb2.Message.FromString, echo_pb2.Message.SerializeToString
            )
            for name, behaviour in behaviours(echo.Echo().Say).items()
        }
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([Wrapped(await routed(arguments.without, stack))])
        echo.register(server)
        server.add_registered_method_handlers(echo.SERVICE, handlers)
        server.add_insecure_port(f"127.0.0.1:{arguments.port}")
        await server.start()
        await server.wait_for_termination()


if __name__ == "__main__":
    parser = echo.parser()
    parser.add_argument("--without", nargs="*", default=[], choices=PIECES)
    asyncio.run(main(parser.parse_args()))
