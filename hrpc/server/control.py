"""The socket on which a running server takes commands from the user who runs it: probes, drain and the like.

One request is one line of JSON, ``{"command": "readiness"}``, and so is an answer, ``{"ok": true, …}``. The connection
takes one request and ends with its last answer. Where the socket is, and who may reach it, says `hrpc.run_folder`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from socket import socket
from typing import Any

from loguru import logger

from hrpc import run_folder
from hrpc.errors import HrpcError

Answer = Mapping[str, Any]
Handler = Callable[[Mapping[str, Any]], Awaitable[Answer] | AsyncIterator[Answer]]
"""Takes a request and gives its answer; an async generator gives several, each as soon as it is known."""

REQUEST_LIMIT = 10.0
"""Seconds that a connection may take for its request."""


class Control:
    """The commands of one server. Any part of it adds its own, whenever it likes."""

    def __init__(self, name: str) -> None:
        """`name` is the server's."""
        self._name = name
        self._handlers: dict[str, Handler] = {}
        self._answering: set[asyncio.Task[Any]] = set()

    def on(self, command: str, handler: Handler) -> None:
        """Lets `handler` answer a command; an `HrpcError` that it raises is the answer as well.

        ::

            async def tasks(request: Mapping[str, Any]) -> Mapping[str, Any]:
                return {"ok": True, "tasks": len(asyncio.all_tasks())}

            control.on("tasks", tasks)
        """
        self._handlers[command] = handler

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Answers while the context lasts. Without a folder for its socket it says so, and the server runs on."""
        with ExitStack() as stack:
            try:
                listening = stack.enter_context(_listening(self._name))
            except OSError as error:
                listening = None
                logger.warning(
                    "{}: no control socket, so `hrpc probe` and `hrpc drain` do not reach it: {}",
                    self._name,
                    error.strerror or error,
                )
            if listening is None:
                yield
                return
            async with self._served(listening):
                yield

    @asynccontextmanager
    async def _served(self, listening: socket) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._connected, sock=listening)
        try:
            yield
        finally:
            server.close()
            for task in self._answering:
                task.cancel()
            if self._answering:
                await asyncio.wait(self._answering)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        # Whoever asked may have gone, and the end of the server ends its answers.
        with suppress(ConnectionError, asyncio.CancelledError):
            try:
                async for answer in self._answers(reader):
                    writer.write(json.dumps(answer, ensure_ascii=False, default=str).encode() + b"\n")
                    await writer.drain()
            finally:
                writer.close()

    async def _answers(self, reader: asyncio.StreamReader) -> AsyncIterator[Answer]:
        try:
            async with asyncio.timeout(REQUEST_LIMIT):
                line = await reader.readline()
        except (TimeoutError, ValueError):  # a line that is too long is a ValueError
            yield _failed("no request came: send one line of JSON")
            return
        if not line:
            return  # whoever only looks whether somebody listens
        try:
            request = json.loads(line)
            handler = self._handlers.get(request["command"])
        except (ValueError, TypeError, KeyError, RecursionError):
            yield _failed('not a request: send one line of JSON like {"command": "readiness"}')
            return
        if handler is None:
            yield _failed(f"no command {request['command']!r} here; there are {', '.join(sorted(self._handlers))}")
            return
        try:
            given = handler(request)
            if isinstance(given, AsyncIterator):
                async for answer in given:
                    yield answer
            else:
                yield await given
        except HrpcError as error:
            yield _failed(str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours: logged, and told to whoever asked
            logger.opt(exception=error).error("{}: the command {!r} failed", self._name, request["command"])
            yield _failed(f"the command failed in the server: {error!r}; its log says where")


@contextmanager
def _listening(name: str) -> Iterator[socket | None]:
    """The socket in the first folder that can be used; None when there is to be none. Raises OSError."""
    problem: OSError | None = None
    for path in run_folder.candidates():
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(run_folder.opened(path, make=True))
                folder.sweep()
                listening, file = folder.listen(name)
            except OSError as error:
                problem = problem or error
                continue
            stack.callback(folder.remove, file)
            stack.enter_context(listening)
            yield listening
            return
    if problem is not None:
        raise problem
    yield None


def _failed(error: str) -> Answer:
    return {"ok": False, "error": error}
