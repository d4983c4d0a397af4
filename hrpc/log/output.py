"""The stream that log lines go to, and whether a write to it would wait."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, Literal


class Output:
    """stdout or stderr, whatever it is when something is written."""

    def __init__(self, name: Literal["stdout", "stderr"], *, shared: bool = False) -> None:
        """`shared`: other processes write lines there as well."""
        self._name = name
        self._shared = shared

    def takes(self, size: int) -> bool:
        """Whether so many bytes can be written now without waiting for a reader.

        A pipe that is ready takes PIPE_BUF bytes (POSIX, ``poll`` and ``write``); of more than that nothing is known.
        """
        number = _descriptor(getattr(sys, self._name))
        if number is None:
            return True
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        return size <= select.PIPE_BUF and bool(poll.poll(0))

    def write(self, data: bytes) -> bool:
        """Writes all of it, however long that takes; False when it is lost, because nobody reads any more."""
        stream = getattr(sys, self._name)
        if stream is None or getattr(stream, "closed", False):
            return False
        number = _descriptor(stream)
        try:
            if number is None:
                stream.write(data.decode())
                stream.flush()
            else:
                for piece in _whole_lines(data) if self._shared else (data,):
                    _write(number, piece)
        except (OSError, ValueError):
            return False
        return True

    def reopen(self) -> None:
        """Nothing: it is the process' own."""

    def close(self) -> None:
        """Nothing: it is the process' own."""


def _descriptor(stream: Any) -> int | None:
    # Its descriptor and not the stream, whose lock would make the interpreter's exit wait for a write that is stuck.
    # Streams of another type, as notebooks and tests put them there, do not end in their descriptor.
    if type(stream) is not io.TextIOWrapper:
        return None
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _whole_lines(data: bytes) -> Iterator[bytes]:
    """The lines, together in pieces that a pipe takes as a whole, so that those of others do not get between (POSIX,
    ``write``: up to PIPE_BUF bytes). A line that is longer is a piece of its own."""
    rest = data
    while rest:
        end = rest.rfind(b"\n", 0, select.PIPE_BUF) + 1 or rest.find(b"\n") + 1 or len(rest)
        yield rest[:end]
        rest = rest[end:]


def _write(number: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(number, rest) :]
        except BlockingIOError:
            # Another process that shares the stream has made it non-blocking.
            poll = select.poll()
            poll.register(number, select.POLLOUT)
            poll.poll()
