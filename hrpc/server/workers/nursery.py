"""The nursery: a process without threads and without an event loop, which forks the workers.

A process in which an event loop runs cannot be forked any more: beneath gRPC the child aborts, and a lock that another
thread holds is never released in it. The nursery is forked before there is any of this, and stays as it was, so that a
worker can begin at any time as if it began with the start.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from hrpc.engine.own_socket import remove_left_by

Begin = Callable[[int, int, socket.socket], int]
"""The life of a worker: its number, the port to serve on, its end of the line to the master; gives its exit code."""

_OF_WORKERS = (signal.SIGHUP, signal.SIGUSR1)
"""Signals that do not end a service: in a worker they are what they were before the fork."""

MESSAGE = 4096
"""Bytes that are read at once; a message has a few dozen, and several may come together."""


@contextmanager
def opened(begin: Begin, patience: float) -> Iterator[socket.socket]:
    """Forks the nursery; gives the line to it. When the line ends, it waits `patience` seconds for its workers."""
    ours, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _exit_after(lambda: _Nursery(its, begin, patience).live())
    its.close()
    try:
        with ours:
            yield ours
    finally:
        os.waitpid(pid, 0)


class _Nursery:
    def __init__(self, line: socket.socket, begin: Begin, patience: float) -> None:
        self._line = line
        self._begin = begin
        self._patience = patience
        self._workers: set[int] = set()
        self._asked = b""
        self._ends: list[int] = []
        self._before: dict[signal.Signals, Any] = {}
        # A child that ends rings, through the signal that the system sends then.
        self._bell, self._ringer = os.pipe()

    def live(self) -> int:
        # What the master gets from a terminal or from a supervisor, all processes of its group get as well: it is the
        # master that says what follows from it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, *_OF_WORKERS):
            self._before[number] = signal.signal(number, signal.SIG_IGN)
        named("hrpc-nursery")
        # So that what is there already stays shared with the workers.
        gc.collect()
        gc.freeze()
        for end in (self._bell, self._ringer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._ringer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        is_wanted = True
        while is_wanted:
            ready = select.select([self._line.fileno(), self._bell], [], [])[0]
            if self._bell in ready:
                os.read(self._bell, MESSAGE)
                self._bury()
            if self._line.fileno() in ready:
                is_wanted = self._heard()
        self._end()
        return 0

    def _heard(self) -> bool:
        """Does what the master asks; False when the master has gone."""
        try:
            data, ends, _, _ = socket.recv_fds(self._line, MESSAGE, 1)
        except ConnectionError:
            return False
        if not data:
            return False
        self._ends += ends
        *lines, self._asked = (self._asked + data).split(b"\n")
        for asked in map(json.loads, lines):
            if "signal" not in asked:
                self._fork(asked, socket.socket(fileno=self._ends.pop()))
            # Only one that is not buried: its number cannot belong to anybody else yet.
            elif asked["to"] in self._workers:
                os.kill(asked["to"], asked["signal"])
        return True

    def _fork(self, asked: dict[str, Any], end: socket.socket) -> None:
        with end:
            end.set_inheritable(False)  # as every other one, but those that were received
            try:
                pid = os.fork()
            except OSError as error:
                self._tell({"error": f"cannot fork: {error.strerror}"})
                return
            if pid == 0:
                self._leave_to_worker()
                named(f"hrpc-worker-{asked['number']}")
                _exit_after(lambda: self._begin(asked["number"], asked["port"], end))
        self._workers.add(pid)
        self._tell({"forked": pid})

    def _leave_to_worker(self) -> None:
        """Takes away, in a new worker, what belongs to the nursery."""
        self._line.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Those that end it stay ignored until it takes them: nothing of it has begun.
        for number in _OF_WORKERS:
            signal.signal(number, self._before[number])
        for end in (self._bell, self._ringer):
            os.close(end)

    def _bury(self) -> None:
        for pid in list(self._workers):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._workers.discard(pid)
                remove_left_by(pid)
                self._tell({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def _end(self) -> None:
        """Workers end by themselves when the master has gone; those that do not are ended."""
        last = time.monotonic() + self._patience
        while self._workers and (left := last - time.monotonic()) > 0:
            select.select([self._bell], [], [], left)
            with suppress(BlockingIOError):
                os.read(self._bell, MESSAGE)
            self._bury()
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
        for pid in self._workers:
            os.waitpid(pid, 0)
            remove_left_by(pid)

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # the master has gone, and `_heard` will see it
            self._line.sendall(json.dumps(message).encode() + b"\n")


def named(name: str) -> None:
    """Shows what a process is in ``ps``, where the system has a place for that."""
    with suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(name)


def _exit_after(live: Callable[[], int]) -> NoReturn:
    """Ends the process when `live` has returned: the frames below are the life of another one."""
    code = 1
    try:
        code = live()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - nothing above would report it
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
