"""Metadata, deadlines and traces, from the headers of a request and back to those of its answer."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import grpc
from aiohttp import web

from hrpc import context
from hrpc.context import Context
from hrpc.option import checks
from hrpc_tester.problem import DETAILS, Problem

Metadata: TypeAlias = "list[tuple[str, str | bytes]]"

PREFIX = "grpc-metadata-"
"""What a header is called that is metadata under the rest of its name."""
TRAILER = "grpc-trailer-"
"""The same for what comes behind an answer."""
TRACE = "Hrpc-Trace-Id"
"""The header of an answer that tells under which trace the log has its call."""

_AS_THEY_ARE = ("authorization", context.METADATA_KEY, context.TRACEPARENT, context.TRACESTATE, context.BAGGAGE)
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])", re.ASCII)
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_LONGEST = 27_000 * 3600.0
"""Seconds, three years: what grpcio makes of longer ones. The longest that gRPC can write is over at once there."""
_ASCII = re.compile(r"[\x20-\x7e]*", re.ASCII)
_CALLER = "hrpc-tester"


def received(request: web.Request) -> tuple[Metadata, Context]:
    """The metadata of the call, and the context that it tells of. Raises `Problem`."""
    metadata: Metadata = []
    for name, value in request.headers.items():
        lowered = name.lower()
        if lowered in _AS_THEY_ARE:
            metadata.append((lowered, _text(name, value)))
        elif lowered.startswith(PREFIX):
            metadata.append(_metadata(name, lowered.removeprefix(PREFIX), value))
    current = context.from_metadata(metadata)
    if not any(key == context.METADATA_KEY for key, _ in metadata):
        current.client_ip = current.client_ip or request.remote or ""
        current.user_agent = current.user_agent or request.headers.get("User-Agent", "")[:256]
        metadata.append((context.METADATA_KEY, current.message(_CALLER)))
    return metadata, current


def timeout(headers: Mapping[str, str]) -> float | None:
    """Seconds that the call has: ``Grpc-Timeout: 500m`` as in gRPC, or ``X-Request-Timeout: 0.5``; None for neither.

    Of both, the shorter. Raises `Problem`.
    https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Timeout"
    """
    found: list[float] = []
    if (given := headers.get("Grpc-Timeout")) is not None:
        match = _TIMEOUT.fullmatch(given)
        if match is None:
            raise _wrong("Grpc-Timeout", "takes up to 8 digits and one of H, M, S, m, u and n, such as 500m")
        found.append(int(match[1]) * _UNITS[match[2]])
    if (given := headers.get("X-Request-Timeout")) is not None:
        if not _SECONDS.fullmatch(given):
            raise _wrong("X-Request-Timeout", "takes seconds, such as 0.5")
        found.append(float(given))
    return min(*found, _LONGEST) if found else None


def answered(metadata: Iterable[tuple[str, str | bytes]] | None, prefix: str) -> list[tuple[str, str]]:
    """Metadata of a call as headers whose names begin so."""
    return [
        (f"{prefix}{key}".title(), base64.b64encode(value).decode() if isinstance(value, bytes) else value)
        for key, value in metadata or ()
        if key != DETAILS
    ]


def _metadata(name: str, key: str, value: str) -> tuple[str, str | bytes]:
    if not checks.METADATA_KEY.fullmatch(key) or key.startswith("grpc-"):
        raise _wrong(name, f"{key!r} is no key of metadata, or one that gRPC keeps for itself")
    if not key.endswith("-bin"):
        return key, _text(name, value)
    try:
        return key, base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        raise _wrong(name, "takes bytes in base64, because its key ends with -bin") from None


def _text(name: str, value: str) -> str:
    if not _ASCII.fullmatch(value):
        raise _wrong(name, "takes printable ASCII")
    return value


def _wrong(name: str, what: str) -> Problem:
    return Problem(grpc.StatusCode.INVALID_ARGUMENT, f"the header {name} {what}", field=name)
