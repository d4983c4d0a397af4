"""A gRPC status: how it is spelt where people read it, and what goes along with it."""

from __future__ import annotations

import grpc

RETRY_PUSHBACK = "grpc-retry-pushback-ms"
"""The trailing metadata that tells gRPC's own retries after how long to try again
(https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback)."""


def code_label(code: grpc.StatusCode) -> str:
    """The value of ``grpc_code``, spelt as gRPC's Go library does: NotFound, Canceled, OK."""
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(part.capitalize() for part in code.name.split("_"))
