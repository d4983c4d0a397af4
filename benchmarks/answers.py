"""Whether a server answers right. The load generator sees HTTP only, where a refusal is a success."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import grpc

from benchmarks import echo_pb2, echo_pb2_grpc

START_LIMIT = 30.0
_QUICK_RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
]


class WrongAnswer(Exception):
    """A server gave another answer than the right one, or none."""


def check(port: int, is_running: Callable[[], bool]) -> None:
    """Waits until the server is there and asks for both kinds of answers. Raises `WrongAnswer`."""
    body = os.urandom(100)
    with grpc.insecure_channel(f"127.0.0.1:{port}", _QUICK_RECONNECT) as channel:
        stub = echo_pb2_grpc.EchoStub(channel)
        try:
            said = _first_answer(stub, echo_pb2.Message(body=body), is_running).body
            repetition = echo_pb2.Repetition(body=body, times=3)
            repeated = [message.body for message in stub.Repeat(repetition, timeout=START_LIMIT)]
        except grpc.RpcError as error:
            raise WrongAnswer(f"{error.code().name}: {error.details()}") from error
    if said != body or repeated != [body] * 3:
        raise WrongAnswer("it did not give back what it got")


def _first_answer(stub: echo_pb2_grpc.EchoStub, request: echo_pb2.Message, is_running: Callable[[], bool]) -> Any:
    limit = time.monotonic() + START_LIMIT
    while True:
        try:
            return stub.Say(request, timeout=1.0, wait_for_ready=True)
        except grpc.RpcError as error:
            if not is_running():
                raise WrongAnswer("it has ended") from None
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or time.monotonic() > limit:
                raise
