"""grpcio with a pool of ten threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from benchmarks import echo_pb2, echo_pb2_grpc
from benchmarks.servers import echo


class Echo(echo_pb2_grpc.EchoServicer):
    """Gives back what it gets."""

    def Say(self, request: echo_pb2.Message, context: Any) -> echo_pb2.Message:
        return echo_pb2.Message(body=request.body)

    def Repeat(self, request: echo_pb2.Repetition, context: Any) -> Iterator[echo_pb2.Message]:
        for _ in range(request.times):
            yield echo_pb2.Message(body=request.body)


def main(port: int) -> None:
    server = grpc.server(ThreadPoolExecutor(10))
    echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(echo.parser().parse_args().port)
