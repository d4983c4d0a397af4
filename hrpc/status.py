"""How a gRPC status is spelt where people read it."""

from __future__ import annotations

import grpc


def code_label(code: grpc.StatusCode) -> str:
    """The value of ``grpc_code``, spelt as gRPC's Go library does: NotFound, Canceled, OK."""
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(part.capitalize() for part in code.name.split("_"))
