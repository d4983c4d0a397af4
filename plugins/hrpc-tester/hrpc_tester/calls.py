"""Makes the calls, and writes what they answer: one message as JSON, a stream as lines or as events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio
from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message

from hrpc_tester import headers, problem
from hrpc_tester.headers import PREFIX, TRAILER
from hrpc_tester.methods import Match
from hrpc_tester.problem import Problem

EVENTS, LINES = "text/event-stream", "application/x-ndjson"
COMMON: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""The headers of every answer."""
_LARGE = 64 * 1024
"""Bytes of a message from which on its JSON is made in a thread, because the event loop would stand still for it."""

Json: TypeAlias = "dict[str, Any] | list[Any] | str | float | bool | None"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call that can be made."""

    match: Match
    request: Message
    metadata: headers.Metadata
    timeout: float | None
    answered: Mapping[str, str]
    """Headers for the answer."""


async def unary(channel: grpc.aio.Channel, prepared: Prepared) -> web.Response:
    """Makes a call of one response. Raises `Problem`."""
    method = prepared.match.method
    make = channel.unary_unary(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    call = make(prepared.request, metadata=_sent(prepared), timeout=prepared.timeout)
    try:
        response = await call
        initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
    except grpc.aio.AioRpcError as error:
        raise _failed(error) from error
    finally:
        call.cancel()
    answer = web.Response(body=await _bytes(prepared, response), content_type="application/json")
    answer.headers.extend(prepared.answered)
    answer.headers.extend([*headers.answered(initial, PREFIX), *headers.answered(trailing, TRAILER)])
    return answer


async def stream(channel: grpc.aio.Channel, prepared: Prepared, request: web.Request) -> web.StreamResponse:
    """Makes a call of many responses; answers when the first of them is there. Raises `Problem` before that."""
    method = prepared.match.method
    make = channel.unary_stream(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    call = make(prepared.request, metadata=_sent(prepared), timeout=prepared.timeout)
    try:
        try:
            first = await call.read()
            initial = await call.initial_metadata()
        except grpc.aio.AioRpcError as error:
            raise _failed(error) from error
        as_events = EVENTS in request.headers.get("Accept", "")
        answer = web.StreamResponse(headers={**COMMON, "Content-Type": EVENTS if as_events else LINES})
        answer.headers.extend(prepared.answered)
        answer.headers.extend(headers.answered(initial, PREFIX))
        await answer.prepare(request)
        written = _events if as_events else _lines
        async for chunk in written(prepared, call, first):
            await answer.write(chunk)
        await answer.write_eof()
        return answer
    finally:
        call.cancel()


def refusal(wrong: Problem, answered: Mapping[str, str]) -> web.Response:
    """The answer that is an error."""
    body = _encoded(wrong.body)
    answer = web.Response(body=body, status=wrong.status, content_type="application/json")
    if wrong.status == 499:
        answer.set_status(499, "Client Closed Request")
    answer.headers.extend(answered)
    answer.headers.extend(wrong.headers)
    return answer


async def _events(prepared: Prepared, call: Any, first: Any) -> AsyncIterator[bytes]:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    try:
        async for response in _all(call, first):
            yield b"data: " + await _bytes(prepared, response) + b"\n"
    except (grpc.aio.AioRpcError, Problem) as error:
        yield b"event: error\ndata: " + _encoded(_end(error)) + b"\n"
    else:
        yield b"event: end\ndata: " + _encoded({"trailers": _trailers(await call.trailing_metadata())}) + b"\n"


async def _lines(prepared: Prepared, call: Any, first: Any) -> AsyncIterator[bytes]:
    try:
        async for response in _all(call, first):
            yield b'{"result": ' + (await _bytes(prepared, response)).rstrip() + b"}\n"
    except (grpc.aio.AioRpcError, Problem) as error:
        yield _encoded(_end(error))
    else:
        if trailers := _trailers(await call.trailing_metadata()):
            yield _encoded({"trailers": trailers})


async def _all(call: Any, first: Any) -> AsyncIterator[Message]:
    response = first
    while response is not grpc.aio.EOF:
        yield response
        response = await call.read()


def _sent(prepared: Prepared) -> Any:
    return grpc.aio.Metadata(*prepared.metadata)


def _failed(error: grpc.aio.AioRpcError) -> Problem:
    failed = problem.of_call(error)
    failed.headers.extend(headers.answered(error.initial_metadata(), PREFIX))
    failed.headers.extend(headers.answered(error.trailing_metadata(), TRAILER))
    return failed


def _end(error: grpc.aio.AioRpcError | Problem) -> dict[str, Any]:
    if isinstance(error, Problem):
        return {"error": error.body}
    trailers = _trailers(error.trailing_metadata())
    return {"error": _failed(error).body} | ({"trailers": trailers} if trailers else {})


def _trailers(metadata: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.answered(metadata, "")}


async def _bytes(prepared: Prepared, response: Message) -> bytes:
    if response.ByteSize() > _LARGE:
        return await asyncio.to_thread(_json, prepared, response)
    return _json(prepared, response)


def _json(prepared: Prepared, response: Message) -> bytes:
    try:
        found: Json = json_format.MessageToDict(response)
    except (TypeError, ValueError) as error:
        # Such as an Any of a type that nobody has imported here, or a Timestamp of the year 10000.
        raise Problem(grpc.StatusCode.INTERNAL, f"the answer cannot be written as JSON: {error}") from error
    binding = prepared.match.binding
    if binding is not None and binding.response_body:
        field = response.DESCRIPTOR.fields_by_name[binding.response_body]
        whole = json_format.MessageToDict(response, always_print_fields_with_no_presence=True)
        found = found.get(field.json_name, whole.get(field.json_name)) if isinstance(found, dict) else None
    return _encoded(found)


def _encoded(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
