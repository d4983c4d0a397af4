"""What a caller is told when a value cannot be loaded for a reason that is not its loader's."""

from __future__ import annotations

from hrpc import HrpcError


class LoadTimeout(HrpcError, TimeoutError):
    """A loader has not given a value within the limit of its map."""


class LoadCancelled(HrpcError):
    """A loader was cancelled: by itself, or because the server stops."""
