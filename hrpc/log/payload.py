"""Requests and responses as text, for the audit log. Imported only when payloads are asked for."""

from __future__ import annotations

import json
import threading
from typing import Any

from google.protobuf.message import Error, Message

from hrpc.log.shown import Shown
from hrpc.redaction import Redaction

_WAITING_AT_MOST = 16 * 1024 * 1024
"""Bytes of messages that wait for their lines."""

_NOT_KEPT = "(not kept, too many wait)"

Kept = tuple[type[Message], bytes] | str | None
"""A message as it was when its call ended, so that a handler may change it afterwards; or its text."""


class Payloads:
    """Keeps messages until their line is made, and makes text of them."""

    def __init__(self, redaction: Redaction, limit: int) -> None:
        """`limit`: characters of one message."""
        self._redaction = redaction
        self._limit = limit
        self._largest = 8 * limit
        self._waiting = 0
        self._lock = threading.Lock()

    def keep(self, message: Any) -> Kept:
        """Takes what has to be known of a message before its call goes on; None for none. It never raises."""
        if message is None:
            return None
        kept: Kept = self._serialized(message) if isinstance(message, Message) else self._text(message)
        size = _size(kept)
        with self._lock:
            if self._waiting + size > _WAITING_AT_MOST:
                return ""
            self._waiting += size
        return kept

    def text(self, kept: Kept) -> str | None:
        """The text of what `keep` has given, or None; for the thread that writes, once for each."""
        if not kept:
            return None if kept is None else _NOT_KEPT
        with self._lock:
            self._waiting -= _size(kept)
        if isinstance(kept, str):
            return kept
        kind, data = kept
        message = kind()
        try:
            message.MergeFromString(data)
        except Error:
            return _only(message, f"{len(data)} bytes")
        return self._text(message)

    def _serialized(self, message: Message) -> Kept:
        try:
            data = message.SerializePartialToString()
        except (Error, ValueError):
            return _only(message, "cannot be serialized")
        return (type(message), data) if len(data) <= self._largest else _only(message, f"{len(data)} bytes")

    def _text(self, value: Any) -> str:
        if isinstance(value, str | bytes):
            # Whatever it holds, no part of it could be hidden.
            return _only(value, f"{len(value)} {'bytes' if isinstance(value, bytes) else 'characters'}")
        try:
            text = json.dumps(Shown(self._redaction).value(value), ensure_ascii=False, separators=(",", ":"))
        except Exception:  # noqa: BLE001 - objects of the user's own: whatever their attributes do, the call goes on
            return _only(value, "cannot be shown")
        if len(text) <= self._limit:
            return text
        return f"{text[: self._limit]}… ({len(text)} characters)"


def _size(kept: Kept) -> int:
    return 0 if kept is None else len(kept if isinstance(kept, str) else kept[1])


def _only(value: object, what: str) -> str:
    return f"({type(value).__name__}, {what})"
