"""The error of a service that was called, as that service has raised it."""

from __future__ import annotations

import socket

import grpc.aio

from hrpc import _runtime
from hrpc.errors import CallError, Hop

STATUS_DETAILS = "grpc-status-details-bin"
"""The trailing metadata with the details of a status."""


def error_of(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    """The `CallError` that the called service has raised, with the running server as its last hop; else `error`."""
    if isinstance(error, CallError):
        return error
    details = next((value for key, value in error.trailing_metadata() or () if key == STATUS_DETAILS), None)
    if details is None:
        return error
    from hrpc.rpc.error_details import decode  # protobuf, which `import hrpc` does without

    found = decode(details, error)
    runtime = _runtime.current()
    if found is None or runtime is None:
        return found or error
    return found.received(Hop(runtime.server_name, socket.gethostname()))
