"""Whether a server answers right. The load generator sees HTTP only, where a refusal is a success."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import grpc

from benchmarks import echo_pb2, echo_pb2_grpc

START_LIMIT = 30.0
_LOOK_AGAIN = 0.002
_NO_PROXY = [("grpc.enable_http_proxy", 0)]


class WrongAnswer(Exception):
    """A server gave another answer than the right one, or none."""


def check(port: int, is_running: Callable[[], bool]) -> None:
    """Waits until the server is there and asks for both kinds of answers. Raises `WrongAnswer`."""
    body = os.urandom(100)
    _wait_for_port(port, is_running)
    with grpc.insecure_channel(f"127.0.0.1:{port}", _NO_PROXY) as channel:
        stub = echo_pb2_grpc.EchoStub(channel)
        try:
            said = stub.Say(echo_pb2.Message(body=body), timeout=START_LIMIT).body
            repetition = echo_pb2.Repetition(body=body, times=3)
            repeated = [message.body for message in stub.Repeat(repetition, timeout=START_LIMIT)]
        except grpc.RpcError as error:
            raise WrongAnswer(f"{error.code().name}: {error.details()}") from error
    if said != body or repeated != [body] * 3:
        raise WrongAnswer("it did not give back what it got")


def _wait_for_port(port: int, is_running: Callable[[], bool]) -> None:
    # A channel would wait much longer between its attempts than a server takes to start.
    limit = time.monotonic() + START_LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if not is_running():
                raise WrongAnswer("it has ended") from None
            if time.monotonic() > limit:
                raise WrongAnswer("it does not listen") from None
            time.sleep(_LOOK_AGAIN)
