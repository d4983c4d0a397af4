"""The errors of Consul."""

from __future__ import annotations

from hrpc.errors.root import HrpcError


class ConsulError(HrpcError):
    """Consul did not do what it was asked for."""


class ConsulUnreachable(ConsulError):
    """No answer from Consul: refused, timed out, or cut off."""


class ConsulPermissionDenied(ConsulError):
    """403: the ACL token may not do this."""


class ConsulRefused(ConsulError):
    """An answer that is neither a success nor a 403, or that is not Consul's; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
