"""The handlers that all servers share, and the arguments that all take."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from typing import Any

import grpc

from benchmarks import echo_pb2, echo_pb2_grpc

SERVICE = "benchmarks.v1.Echo"


class Echo(echo_pb2_grpc.EchoServicer):
    """Gives back what it gets."""

    async def Say(self, request: echo_pb2.Message, context: Any) -> echo_pb2.Message:
        return echo_pb2.Message(body=request.body)

    async def Repeat(self, request: echo_pb2.Repetition, context: Any) -> AsyncIterator[echo_pb2.Message]:
        for _ in range(request.times):
            yield echo_pb2.Message(body=request.body)


def parser() -> argparse.ArgumentParser:
    """Takes ``--port`` and ``--methods``."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--methods", type=int, default=1, help="how many unary methods there are")
    return arguments


def register(server: Any, methods: int = 1) -> None:
    """Adds the servicer, and more unary methods until there are as many as `methods`."""
    echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server)
    if methods > 1:
        server.add_registered_method_handlers(SERVICE, {f"Say{number}": say() for number in range(1, methods)})


def say() -> grpc.RpcMethodHandler:
    """A method of its own that says what it is told."""
    return grpc.unary_unary_rpc_method_handler(
        Echo().Say, echo_pb2.Message.FromString, echo_pb2.Message.SerializeToString
    )
