"""MongoDB's wire protocol, as far as drivers of 2021 and later speak it: OP_MSG, and OP_QUERY for the first hello.

https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import bson

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
_CHECKSUM, _MORE_TO_COME = 1, 2
_HEADER = struct.Struct("<iiii")
_LONGEST = 48_000_000


class Request:
    """One command, and how it is to be answered."""

    def __init__(self, number: int, kind: int, command: dict[str, Any], is_answered: bool = True) -> None:
        self.number = number
        self.kind = kind
        self.command = command
        self.is_answered = is_answered

    @property
    def name(self) -> str:
        """The first field names the command."""
        return next(iter(self.command))

    def answer(self, document: dict[str, Any]) -> bytes:
        """The bytes of the answer."""
        encoded = bson.encode(document)
        if self.kind == OP_QUERY:
            # Flags, cursor, where it begins, how many documents.
            return _framed(self.number, OP_REPLY, struct.pack("<iqii", 8, 0, 0, 1) + encoded)
        return _framed(self.number, OP_MSG, struct.pack("<iB", 0, 0) + encoded)


async def read(stream: asyncio.StreamReader) -> Request | None:
    """The next command; None at the end. Raises ValueError for what is not of this protocol."""
    try:
        length, number, _, kind = _HEADER.unpack(await stream.readexactly(_HEADER.size))
        if not _HEADER.size <= length <= _LONGEST:
            raise ValueError(f"a message of {length} bytes")
        body = await stream.readexactly(length - _HEADER.size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    if kind == OP_QUERY:
        return Request(number, kind, _of_query(body))
    if kind == OP_MSG:
        return _of_message(number, body)
    raise ValueError(f"a message of kind {kind}")


def _of_query(body: bytes) -> dict[str, Any]:
    name = body[4 : body.index(b"\0", 4)]
    at = 4 + len(name) + 1 + 8
    document = bson.decode(body[at : at + _size(body, at)])
    return {**document, "$db": name.decode().partition(".")[0]}


def _of_message(number: int, body: bytes) -> Request:
    (flags,) = struct.unpack_from("<I", body)
    end = len(body) - (4 if flags & _CHECKSUM else 0)
    command: dict[str, Any] = {}
    lists: dict[str, Any] = {}
    at = 4
    while at < end:
        kind, at = body[at], at + 1
        size = _size(body, at)
        if kind == 0:
            command = bson.decode(body[at : at + size])
        elif kind == 1:
            name = body[at + 4 : body.index(b"\0", at + 4)]
            lists[name.decode()] = bson.decode_all(body[at + 4 + len(name) + 1 : at + size])
        else:
            raise ValueError(f"a section of kind {kind}")
        at += size
    return Request(number, OP_MSG, command | lists, is_answered=not flags & _MORE_TO_COME)


def _size(body: bytes, at: int) -> int:
    return int(struct.unpack_from("<i", body, at)[0])


def _framed(number: int, kind: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), 0, number, kind) + body
