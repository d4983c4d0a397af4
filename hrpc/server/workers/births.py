"""The master's end of the line to the nursery: it asks for workers, and hears of their ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from hrpc.errors import WorkerError
from hrpc.server.workers.nursery import MESSAGE

NURSERY_GONE = "the nursery, the process that begins workers, was killed"


class Births:
    """Workers that begin and end."""

    def __init__(self, line: socket.socket) -> None:
        self.lost = asyncio.Event()
        """Set when the nursery has gone, so that no worker can begin any more."""
        self._line = line
        self._heard = b""
        self._one_at_a_time = asyncio.Lock()
        self._forked: asyncio.Future[int] | None = None
        self._ended: dict[int, asyncio.Future[int | None]] = {}

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        """Listens to the nursery for as long as the context lasts."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._line, self._hear)
        try:
            yield
        finally:
            loop.remove_reader(self._line)

    async def begin(self, number: int, port: int) -> tuple[int, socket.socket]:
        """A new worker, which is to serve on `port`: its process id, and the line to it. Raises `WorkerError`."""
        async with self._one_at_a_time:
            self._forked = asyncio.get_running_loop().create_future()
            ours, its = socket.socketpair()
            with its:
                try:
                    self._ask({"number": number, "port": port}, its)
                    pid = await self._forked
                except BaseException:
                    ours.close()
                    raise
            return pid, ours

    async def ended(self, pid: int) -> int | None:
        """Waits for the end of a worker; its exit code, or -9 for signal 9. None when the nursery has gone before."""
        try:
            return await self._ended[pid]
        finally:
            del self._ended[pid]

    def kill(self, pid: int) -> None:
        """Ends a worker at once."""
        self.send(pid, signal.SIGKILL)

    def send(self, pid: int, number: signal.Signals) -> None:
        """Sends a signal to a worker; nothing happens when it has ended."""
        if self.lost.is_set():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        else:
            self._ask({"signal": number, "to": pid})

    def _ask(self, asked: dict[str, Any], *ends: socket.socket) -> None:
        try:
            socket.send_fds(self._line, [json.dumps(asked).encode() + b"\n"], [end.fileno() for end in ends])
        except OSError:
            self._lose()
        if self.lost.is_set() and ends:
            raise WorkerError(NURSERY_GONE)

    def _hear(self) -> None:
        try:
            data = self._line.recv(MESSAGE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._lose()
            return
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, said: dict[str, Any]) -> None:
        if "ended" in said:
            if (ended := self._ended.get(said["ended"])) is not None and not ended.done():
                ended.set_result(said["status"])
            return
        if self._forked is None or self._forked.done():
            return
        if "error" in said:
            self._forked.set_exception(WorkerError(f"no worker can begin: {said['error']}"))
        else:
            # At once: the next line may tell of its end.
            self._ended[said["forked"]] = asyncio.get_running_loop().create_future()
            self._forked.set_result(said["forked"])

    def _lose(self) -> None:
        asyncio.get_running_loop().remove_reader(self._line)
        self.lost.set()
        for ended in self._ended.values():
            if not ended.done():
                ended.set_result(None)
        if self._forked is not None and not self._forked.done():
            self._forked.set_exception(WorkerError(NURSERY_GONE))
