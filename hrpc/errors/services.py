"""The errors of calls to other services."""

from __future__ import annotations

import grpc
import grpc.aio

from hrpc.errors.root import HrpcError


class ServiceError(HrpcError):
    """A service cannot be called."""


class ServiceNotFound(ServiceError):
    """No instance of the service passes its checks, or the token may not read it."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(f"[{name}] not found or no permission to read{hint}")
        self.name = name


class BreakerOpen(ServiceError, grpc.aio.AioRpcError):
    """A call was not made, because too many have failed; see `hrpc.with_circuit_breaker`.

    `name` is what was not called, and `retry_after` says after how many seconds it is tried again. It is also a
    ``grpc.aio.AioRpcError`` with the code UNAVAILABLE.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        no_metadata = grpc.aio.Metadata()
        text = f"{name}: not called for another {retry_after:.1f} s, because too many calls have failed"
        grpc.aio.AioRpcError.__init__(self, grpc.StatusCode.UNAVAILABLE, no_metadata, no_metadata, text)
        self.name = name
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.details() or ""

    def __reduce__(self) -> tuple[type[BreakerOpen], tuple[str, float]]:
        return BreakerOpen, (self.name, self.retry_after)
