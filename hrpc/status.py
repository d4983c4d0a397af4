"""A gRPC status: how it is spelt where people read it, and what goes along with it."""

from __future__ import annotations

import grpc

RETRY_PUSHBACK = "grpc-retry-pushback-ms"
"""The trailing metadata that tells gRPC's own retries after how long to try again
(https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback)."""


GOAWAY = "Stream removed (GOAWAY received;"
"""How gRPC's core begins what it says of a call above the last one that the server has looked at (RFC 9113, 6.8); of
others it says "Socket closed"."""
REFUSED_STREAM = "Stream removed (RST_STREAM (Received RST_STREAM with error code 7))"
"""What it says of a call that was refused with REFUSED_STREAM, and so not processed (RFC 9113, 8.7)."""
STOPPING = "CANCELLED"
"""What it answers to the calls that a server, which stops, had not handed to anybody."""

NOT_BEGUN = "the server is stopping, and has not begun the call"
"""What the native engine answers to them."""


def by_handler(message: str) -> str:
    """The message of a status that a handler has chosen, which says nothing that callers take for gRPC's own word."""
    if message == STOPPING or message.startswith((GOAWAY, REFUSED_STREAM, NOT_BEGUN)):
        return f"told by the handler: {message}"
    return message


def code_label(code: grpc.StatusCode) -> str:
    """The value of ``grpc_code``, spelt as gRPC's Go library does: NotFound, Canceled, OK."""
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(part.capitalize() for part in code.name.split("_"))
