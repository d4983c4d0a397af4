"""The watcher's life: it starts the service, replaces it at each change, and ends with it on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import click

from hrpc.cli.reload.files import changes, check_installed, not_generated, told
from hrpc.cli.reload.line import VARIABLE, Ports

PATIENCE = 3.0
"""Seconds that a service has for its stop before it is told to wait for nobody."""
KILLED_AFTER = 10.0
"""Seconds after which it is killed."""
_LONGEST = 4096


def watch(folders: Sequence[Path]) -> int:
    """Runs this very command again and again as a process that serves; gives the exit code of the last one.

    Raises `CommandError` when the files cannot be watched.
    """
    check_installed()
    return asyncio.run(_Watcher(folders).live())


class _Watcher:
    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._ports = Ports()
        self._process: asyncio.subprocess.Process | None = None
        self._ending = asyncio.Event()
        self._changed: set[Path] = set()
        self._news = asyncio.Event()

    async def live(self) -> int:
        _say(f"restarts when a source or proto file changes in {', '.join(map(str, self._folders))}")
        self._take_signals()
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                code = await self._serve(watching)
                if self._ending.is_set():
                    return code
        finally:
            watching.cancel()
            self._ports.close()

    async def _watch(self) -> None:
        async for changed in changes(self._folders):
            self._changed |= changed
            self._news.set()

    async def _serve(self, watching: asyncio.Task[None]) -> int:
        """Runs the service until a file changes, or until it is told to end; gives its exit code."""
        self._changed.clear()
        self._news.clear()
        async with self._started() as process:
            ended = asyncio.create_task(process.wait())
            woken = [asyncio.create_task(self._news.wait()), asyncio.create_task(self._ending.wait())]
            try:
                await asyncio.wait({ended, watching, *woken}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done() and not self._ending.is_set() and not self._news.is_set():
                    _say(f"it has ended with the exit code {_exit_code(ended.result())}; a change starts it again")
                    await asyncio.wait({watching, *woken}, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()
                if self._ending.is_set():
                    return _exit_code(await ended)
                self._say_changed()
                await _end(process, ended)
                return _exit_code(ended.result())
            finally:
                for task in woken:
                    task.cancel()

    def _say_changed(self) -> None:
        _say(f"{told(self._changed)} changed")
        for line in not_generated(self._changed):
            _say(line)

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[asyncio.subprocess.Process]:
        ours, its = socket.socketpair()
        with ours:
            with its:
                environ = os.environ | {VARIABLE: str(its.fileno())}
                command = [sys.executable, *sys.orig_argv[1:]]
                process = await asyncio.create_subprocess_exec(*command, env=environ, pass_fds=[its.fileno()])
            answering = asyncio.create_task(self._answer(ours))
            self._process = process
            try:
                yield process
            finally:
                self._process = None
                answering.cancel()
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _answer(self, line: socket.socket) -> None:
        line.setblocking(False)
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while asked := await loop.sock_recv(line, _LONGEST):
                await loop.sock_sendall(line, self._ports.answer(asked))

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._end_on, number)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on, signal.SIGHUP)

    def _end_on(self, number: signal.Signals) -> None:
        self._ending.set()
        if number is not signal.SIGTERM and _is_in_front():
            # The terminal has told the service as well; and should it have been somebody else, it is told a bit later.
            asyncio.get_running_loop().call_later(PATIENCE, self._pass_on, number)
        else:
            self._pass_on(number)

    def _pass_on(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    for limit, send in ((PATIENCE, process.terminate), (KILLED_AFTER, process.terminate), (None, process.kill)):
        if ended.done():
            return
        send()
        await asyncio.wait({ended}, timeout=limit)


def _is_in_front() -> bool:
    """Whether a terminal sends its signals to this process and to those that it has started."""
    try:
        with open("/dev/tty") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _exit_code(code: int) -> int:
    return 128 - code if code < 0 else code


def _say(text: str) -> None:
    click.echo(f"hrpc --reload: {text}", err=True)
