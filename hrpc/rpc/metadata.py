"""Metadata and messages that a handler wants to send: what cannot be sent is told to the handler, or cut, where each
engine would answer its client in a way of its own, or never."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from hrpc.status import RETRY_PUSHBACK, by_handler

Metadata: TypeAlias = "tuple[tuple[str, str | bytes], ...]"

# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: Header-Name, and ASCII-Value
_KEY = re.compile(r"[0-9a-z_.-]+", re.ASCII)
_OF_GRPC = ("grpc-status-details-bin", RETRY_PUSHBACK)
_VALUE = re.compile(r"[\x20-\x7e]*", re.ASCII)

LONGEST_MESSAGE = 4096
"""Bytes of a status' message. Its client may refuse more than 8 KiB of metadata together, and the status with it."""


def checked(metadata: Any) -> Metadata:
    """`metadata` as a tuple of pairs. Raises ValueError for what HTTP/2 cannot carry, and says which key it is."""
    try:
        pairs = tuple((key, value) for key, value in metadata)
    except (TypeError, ValueError):
        raise ValueError(f"metadata takes pairs of a key and a value, not a {type(metadata).__name__}") from None
    return tuple((key, _checked(key, value)) for key, value in pairs)


def _checked(key: object, value: object) -> str | bytes:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(f"metadata: the key {key!r} takes lower case letters, digits and _ . - only")
    if key.startswith("grpc-") and key not in _OF_GRPC:
        raise ValueError(f"metadata: the key {key!r} is kept for gRPC's own use; choose one without grpc- in front")
    if key.endswith("-bin"):
        if not isinstance(value, bytes):
            raise ValueError(f"metadata: the value of {key!r} takes bytes, not {type(value).__name__}")
        return value
    # grpcio takes bytes here as well.
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(text, str) or not _VALUE.fullmatch(text):
        raise ValueError(f"metadata: the value of {key!r} takes printable ASCII; a key that ends in -bin takes bytes")
    return text


def message(details: object) -> str:
    """`details` as the message of a status. Raises TypeError for what is not a str, nor None."""
    if details is None:
        return ""
    if not isinstance(details, str):
        raise TypeError(f"the details of a status take a str, not a {type(details).__name__}")
    details = by_handler(details)
    if len(details) <= LONGEST_MESSAGE // 3 and details.isascii():
        return details
    data = details.encode("utf-8", "replace")  # half a character cannot be sent
    # All but printable ASCII takes three bytes for one: Percent-Byte-Unencoded in the same document.
    limit = LONGEST_MESSAGE if _VALUE.fullmatch(details) else LONGEST_MESSAGE // 3
    return data.decode() if len(data) <= limit else data[: limit - 3].decode(errors="ignore") + "…"
