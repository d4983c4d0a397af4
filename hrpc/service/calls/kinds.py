"""The four kinds of calls, put together."""

from __future__ import annotations

import grpc.aio

from hrpc.service.calls.call import Call
from hrpc.service.calls.requests import ManyRequests
from hrpc.service.calls.responses import ManyResponses, OneResponse


class UnaryUnary(OneResponse):
    """One request, one response."""


class UnaryStream(ManyResponses):
    """One request, many responses."""


class StreamUnary(ManyRequests, OneResponse):
    """Many requests, one response."""


class StreamStream(ManyRequests, ManyResponses):
    """Many requests, many responses."""


grpc.aio.UnaryUnaryCall.register(UnaryUnary)
grpc.aio.UnaryStreamCall.register(UnaryStream)
grpc.aio.StreamUnaryCall.register(StreamUnary)
grpc.aio.StreamStreamCall.register(StreamStream)

KINDS: dict[str, type[Call]] = {
    "unary_unary": UnaryUnary,
    "unary_stream": UnaryStream,
    "stream_unary": StreamUnary,
    "stream_stream": StreamStream,
}
