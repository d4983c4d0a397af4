"""Handlers of streams as async generators, for interceptors that iterate over what a handler gives.

The wrapper of a call is a coroutine, in which responses are written. What interceptors of the user's get between the
engine and the wrapper has to be of the kind that the user's handler is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import aclosing, suppress
from types import coroutine
from typing import Any

import grpc.aio

from hrpc.rpc.call import Call
from hrpc.rpc.failure import Unwanted


class _Given:
    """A response on its way up through the wrapper."""

    __slots__ = ("response",)

    def __init__(self, response: Any) -> None:
        self.response = response


def giving(behaviour: Callable[[Any, Call], AsyncGenerator[Any]]) -> Callable[[Any, Call], Coroutine[Any, Any, None]]:
    """A handler that yields, as the coroutine to be wrapped, and then handed to `as_generator`."""

    async def body(request: Any, call: Call) -> None:
        async with aclosing(behaviour(request, call)) as responses:
            async for response in responses:
                await call.sending()
                await _give(_Given(response))

    return body


def as_generator(
    handle: Callable[[Any, Any], Coroutine[Any, Any, Any]],
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    """The wrapper of a `giving` handler as an async generator, which runs it in the task that iterates."""

    async def generate(request: Any, raw: Any) -> AsyncIterator[Any]:
        running = handle(request, raw)
        while (given := await _until_given(running)) is not None:
            try:
                yield given.response
            except GeneratorExit:
                with suppress(asyncio.CancelledError, grpc.aio.AbortError):
                    await _until_given(running, Unwanted())
                raise

    return generate


@coroutine
def _give(given: _Given) -> Generator[Any, Any, None]:
    yield given


@coroutine
def _until_given(
    running: Coroutine[Any, Any, Any], error: BaseException | None = None
) -> Generator[Any, Any, _Given | None]:
    """Runs on, with `error` where it stopped, to the next response; None at the end."""
    try:
        step = running.send(None) if error is None else running.throw(error)
        while not isinstance(step, _Given):
            try:
                sent = yield step
            except BaseException as caught:  # noqa: BLE001 - such as the cancellation of the task
                step = running.throw(caught)
            else:
                step = running.send(sent)
    except StopIteration:
        return None
    return step
