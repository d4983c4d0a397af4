"""hrpc's part of a call on a channel of the user's own, as interceptors of grpc.aio."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from hrpc.rpc import outgoing


def client_interceptors() -> list[grpc.aio.ClientInterceptor]:
    """What `service.channel` does for a call, for a channel of your own: the trace and what is left of the deadline go
    along, and errors of `hrpc.errors` arrive as such. One list serves any number of channels.

    ::

        channel = grpc.aio.insecure_channel("10.0.0.7:8888", interceptors=hrpc.client_interceptors())
    """
    return [_UnaryUnary(), _UnaryStream(), _StreamUnary(), _StreamStream()]


async def _made(continuation: Any, details: Any, requests: Any, *, streaming: bool) -> Any:
    going = outgoing.of_the_server()
    timeout = going.timeout(details.timeout)
    path = _text(details.method)
    breaker, begin = going.breaker(path), going.tracing(path)
    turn = 0 if breaker is None else breaker.before()
    span = None
    try:
        span = None if begin is None else begin("")
        metadata = going.metadata(details.metadata, timeout, span)
        if metadata is not None:
            metadata = grpc.aio.Metadata(*metadata)
        # Another interceptor may wait here for the call to end.
        call = await continuation(details._replace(timeout=timeout, metadata=metadata), requests)
    except BaseException as error:
        failure = going.failed(error, breaker=breaker, turn=turn, span=span)
        if failure is error:
            raise
        raise failure from None
    return going.made(call, streaming=streaming, breaker=breaker, turn=turn, span=span)


def _text(path: str | bytes) -> str:
    return path.decode() if isinstance(path, bytes) else path


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _made(continuation, client_call_details, request, streaming=False)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _made(continuation, client_call_details, request, streaming=True)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await _made(continuation, client_call_details, request_iterator, streaming=False)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await _made(continuation, client_call_details, request_iterator, streaming=True)
