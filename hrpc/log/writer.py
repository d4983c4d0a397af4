"""A thread that writes log lines, so that nobody who logs waits for whoever reads them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from loguru import logger

from hrpc import _runtime
from hrpc.log.output import Output

LINES_AT_MOST = 100_000
"""Lines that wait; what comes on top is dropped, and counted."""

_LINGER = 0.05
"""Seconds for further lines to come along before the thread writes: a wake-up for each would cost more than it."""

_BATCH = 256
"""Lines of one write. Formatting them keeps the interpreter from the event loop, for under a millisecond."""

_PATIENCE = 0.001
"""Seconds to wait for the thread to end a write; one that takes longer is stuck."""

Waiting = str | tuple[Any, ...] | Callable[[], None]
"""A line; or what makes a line, followed by what it makes it of; or a function to call when all before is written."""


class Writer:
    """Writes lines in the order they came, at some later time; the first line starts its thread."""

    def __init__(self, output: Output, dropped_line: Callable[[int], str], limit: int = LINES_AT_MOST) -> None:
        """`dropped_line` makes the line that says how many were dropped."""
        self.waiting: deque[Waiting] = deque()
        self.limit = limit
        self.idle = True
        """Whether the thread has to be woken up for what has been put into `waiting`."""
        self._output = output
        self._dropped_line = dropped_line
        self._dropped = 0
        self._told = 0
        self._handed_over = 0
        self._taken = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._bell = threading.Event()
        self._hurry = threading.Event()
        self._closed = False
        self._has_failed = False

    @property
    def dropped(self) -> int:
        """Lines that were not written: too many were waiting, or nobody reads the output any more."""
        return self._dropped

    def write(self, line: str) -> None:
        """Writes a line now, or hands it to the thread when that would wait."""
        writing = _runtime.process_log.writing
        # Behind lines that were handed over, so that they stay in order.
        if self._handed_over == self._taken and writing.acquire(timeout=_PATIENCE):
            try:
                data = _encoded(line)
                if self._output.takes(len(data)):
                    if not self._output.write(data):
                        self.drop()
                    return
            finally:
                writing.release()
        if len(self.waiting) >= self.limit or self._closed:
            self.drop()
            return
        self._handed_over += 1
        self.waiting.append(line)
        if self.idle:
            self.wake()

    def drop(self, lines: int = 1) -> None:
        """Counts lines that are lost."""
        with self._lock:
            self._dropped += lines

    def wake(self) -> None:
        """Wakes the thread up; for whoever has put something into `waiting` and finds it `idle`."""
        self.idle = False
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._has_thread():
                    self.idle = True
                    return
        self._bell.set()

    def _has_thread(self) -> bool:
        """Whether its thread could be started. Lines wait when the system gives none: the next one tries again."""
        thread = threading.Thread(target=self._run, name="hrpc-log", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    async def flushed(self) -> None:
        """Waits until everything that was logged so far is written."""
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(flushed.set)

        if self._ask(tell):
            await flushed.wait()

    def close(self, limit: float) -> None:
        """Writes what is left, for at most `limit` seconds, and ends the thread."""
        self._closed = True
        flushed = threading.Event()
        if self._ask(flushed.set):
            flushed.wait(limit)

    def _ask(self, when_written: Callable[[], None]) -> bool:
        if self._thread is None:
            return False
        self.waiting.append(when_written)
        self._hurry.set()
        self.wake()
        return True

    def _run(self) -> None:
        while self.waiting or not self._closed:
            self.idle = True
            # Looked at again, because whoever put something there meanwhile may have found it not idle.
            if not self.waiting:
                self._bell.wait()
            self.idle = False
            self._bell.clear()
            self._hurry.wait(_LINGER)
            self._hurry.clear()
            # Only what is there now: under load there is always more, and it would be written line by line.
            for _ in range(0, len(self.waiting), _BATCH):
                self._write_batch()

    def _write_batch(self) -> None:
        lines: list[str] = []
        when_written: list[Callable[[], None]] = []
        handed_over = 0
        for _ in range(min(len(self.waiting), _BATCH)):
            entry = self.waiting.popleft()
            if isinstance(entry, tuple):
                try:
                    lines.append(entry[0](entry))
                except Exception as error:  # noqa: BLE001 - one odd call must not end the log of all others
                    self._failed(error)
            elif isinstance(entry, str):
                lines.append(entry)
                handed_over += 1
            else:
                when_written.append(entry)
        if lines:
            self._write(lines)
        self._taken += handed_over
        for call in when_written:
            call()

    def _failed(self, error: Exception) -> None:
        self.drop()
        self._told += 1
        if not self._has_failed:
            self._has_failed = True
            logger.opt(exception=error).error("a line of the audit log cannot be made; others like it are dropped")

    def _write(self, lines: list[str]) -> None:
        with _runtime.process_log.writing:
            if not self._output.write(_encoded("".join(lines))):
                self.drop(len(lines))
                return
            missing = self._dropped - self._told
            # Not while it is still clogged, when each batch would have such a line.
            if missing and len(self.waiting) <= self.limit // 2:
                self._told += missing
                self._output.write(_encoded(self._dropped_line(missing)))


def _encoded(text: str) -> bytes:
    # Half a character, which UTF-8 does not have, comes out as JSON escapes it.
    return text.encode("utf-8", "backslashreplace")
