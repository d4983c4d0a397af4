"""The line between the master and a worker: each asks the other, and is answered, in lines of JSON."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from loguru import logger

from hrpc.errors import HrpcError, WorkerError

Handler = Callable[[Any], Awaitable[Any]]
"""Answers a question: takes what was asked, and gives what JSON can say."""

LONGEST = 64 * 1024 * 1024
"""Bytes of one line; the metrics of a service with thousands of methods take a few million."""


class Link:
    """One end of the line; `peer` is the name of whoever is at the other one."""

    def __init__(self, peer: str, writer: asyncio.StreamWriter, tasks: asyncio.TaskGroup) -> None:
        self.peer = peer
        self.closed = asyncio.Event()
        """Set when the other end has gone, or this one."""
        self._writer = writer
        self._tasks = tasks
        self._handlers: dict[str, Handler] = {}
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def on(self, command: str, handler: Handler) -> None:
        """Answers `command` from now on with what `handler` gives for its argument."""
        self._handlers[command] = handler

    def tell(self, command: str, argument: Any = None) -> None:
        """The same as `ask`, for what needs no answer; nothing happens when the other end has gone."""
        self._send({"command": command, "argument": argument})

    async def ask(self, command: str, argument: Any = None, *, timeout: float) -> Any:
        """What the other end answers, within `timeout` seconds.

        Raises `WorkerError` when it does not answer in time, has gone, does not know the command, or failed at it.
        """
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            if self.closed.is_set():
                raise self._lost(command)
            self._send({"command": command, "argument": argument, "number": number})
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise WorkerError(f"{self.peer}: no answer to {command!r} within {timeout:g} s") from None
        finally:
            del self._asked[number]

    def _send(self, message: dict[str, Any]) -> None:
        if not self.closed.is_set() and not self._writer.is_closing():
            self._writer.write(json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            # Not being able to read it any more is how the end of a process shows that had no time to say so.
            with suppress(ConnectionError):
                while line := await reader.readline():
                    self._take(json.loads(line.decode("utf-8", "surrogatepass")))
        finally:
            self._close()

    def _take(self, message: dict[str, Any]) -> None:
        if "command" in message:
            answering = self._tasks.create_task(self._answer(message), name=f"hrpc: {message['command']}")
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)
            return
        asked = self._asked.get(message["number"])
        if asked is None or asked.done():  # nobody waits for it any more
            return
        if "error" in message:
            asked.set_exception(WorkerError(f"{self.peer}: {message['error']}"))
        else:
            asked.set_result(message["answer"])

    async def _answer(self, message: dict[str, Any]) -> None:
        said: dict[str, Any] = {}
        try:
            handler = self._handlers.get(message["command"])
            if handler is None:
                raise WorkerError(f"there is no command {message['command']!r}")
            said["answer"] = await handler(message["argument"])
        except HrpcError as error:
            said["error"] = str(error)
        except Exception as error:  # noqa: BLE001 - it is told where it was asked; the line is for other questions too
            said["error"] = repr(error)
            logger.opt(exception=error).error("{}: {!r} failed", self.peer, message["command"])
        if "number" in message:
            self._send({"number": message["number"], **said})

    def _close(self) -> None:
        self.closed.set()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(WorkerError(f"{self.peer} has gone"))
        for answering in self._answering:
            answering.cancel()
        self._writer.close()

    def _lost(self, command: str) -> WorkerError:
        return WorkerError(f"{self.peer} has gone, and cannot be asked {command!r}")


@asynccontextmanager
async def opened(end: socket.socket, peer: str) -> AsyncIterator[Link]:
    """The line whose one end is `end`, until the context ends. Handlers that are set at once miss no question."""
    reader, writer = await asyncio.open_unix_connection(sock=end, limit=LONGEST)
    async with asyncio.TaskGroup() as tasks:
        link = Link(peer, writer, tasks)
        reading = tasks.create_task(link._read(reader), name=f"hrpc: line to {peer}")
        try:
            yield link
            with suppress(ConnectionError):
                await writer.drain()
        finally:
            reading.cancel()
