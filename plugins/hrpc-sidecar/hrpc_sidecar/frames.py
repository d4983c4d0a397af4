"""The frames of an event stream, from bytes that arrive in pieces of any size.

The format is that of https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream, except
that a line without a colon is no field, and that a last frame counts also without the blank line after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from hrpc_sidecar.errors import FrameTooLarge

LARGEST_FRAME = 1 << 20
"""Bytes of the fields of one frame."""

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:")
_fields = re.compile(rb"^(data|event|id): ?(.*)$", re.MULTILINE).findall


class Frame(NamedTuple):
    """One frame: its fields, the lines of its data joined."""

    event: str
    id: str
    data: bytes | None
    """None without a field of data."""


class Frames:
    """Finds the frames in what `feed` is given."""

    def __init__(self, limit: int = LARGEST_FRAME) -> None:
        """`limit`: bytes of the fields of a frame; of one without an end, at most twice as many are kept."""
        self._limit = limit
        self._pending: list[bytes] = []
        self._size = 0
        self._look_at = limit
        self._last = b""
        self._after_cr = False
        self._begins = True

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """The frames that end in `chunk`; to be iterated to its end. Raises `FrameTooLarge`, once those before it
        have been given."""
        chunk = self._lines(chunk)
        if not chunk:
            return
        ends = b"\n\n" in chunk or (self._last == b"\n" and chunk.startswith(b"\n"))
        self._pending.append(chunk)
        self._size += len(chunk)
        self._last = chunk[-1:]
        if ends:
            *whole, rest = self._taken().split(b"\n\n")
            self._keep(rest)
            for part in whole:
                if len(part) > self._limit:
                    self._check(part)
                if (frame := _frame(part)) is not None:
                    yield frame
        if self._size > self._look_at:
            self._forget_comments()

    def end(self) -> Iterator[Frame]:
        """The frame for which the stream had no blank line any more, if any. Raises `FrameTooLarge`."""
        part = self._taken()
        self._keep(b"")
        if len(part) > self._limit:
            self._check(part)
        if (frame := _frame(part)) is not None:
            yield frame

    def _lines(self, chunk: bytes) -> bytes:
        """The same with LF as the only end of a line: a CR is one at once, whatever comes after it."""
        if self._after_cr and chunk.startswith(b"\n"):
            self._after_cr = False
            chunk = chunk[1:]
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if chunk:
            self._after_cr = False
        return chunk

    def _taken(self) -> bytes:
        whole = b"".join(self._pending)
        if self._begins and (len(whole) >= len(_BOM) or not _BOM.startswith(whole)):
            self._begins = False
            whole = whole.removeprefix(_BOM)
        return whole

    def _keep(self, rest: bytes) -> None:
        self._pending = [rest] if rest else []
        self._size, self._last = len(rest), rest[-1:]
        self._look_at = self._limit

    def _forget_comments(self) -> None:
        """Drops what is no field; comments, which keep a stream alive, come without end and without a blank line."""
        *lines, last = self._taken().split(b"\n")
        kept = [line for line in lines if line.startswith(_FIELDS)]
        # A comment that has no end yet is as good as one that has just begun.
        last = b":" if last.startswith(b":") else last
        if sum(map(len, kept)) + len(last) > self._limit:
            raise self._too_large([*kept, last])
        self._keep(b"\n".join([*kept, last]))
        self._look_at = self._size + self._limit

    def _check(self, part: bytes) -> None:
        kept = [line for line in part.split(b"\n") if line.startswith(_FIELDS)]
        if sum(map(len, kept)) > self._limit:
            raise self._too_large(kept)

    def _too_large(self, lines: list[bytes]) -> FrameTooLarge:
        frame = _frame(b"\n".join(line[:200] for line in lines[:10])) or Frame("", "", b"")
        return FrameTooLarge(frame.event, frame.id, _text(frame.data or b"")[:200], self._limit)


def _frame(part: bytes) -> Frame | None:
    event = number = b""
    data: list[bytes] = []
    for name, value in _fields(part):
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value
        else:
            number = value
    if not data and not event:
        return None
    return Frame(_text(event), _text(number), b"\n".join(data) if data else None)


def _text(value: bytes) -> str:
    return str(value, "utf-8", "replace")
