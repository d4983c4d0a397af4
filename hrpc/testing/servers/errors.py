"""The errors of the test servers.

::

    HrpcError
    ├── ServerMissing       neither a container image nor a program is there
    └── ServerFailed        a server did not start, did not stop, or was asked for what its state does not allow
"""

from __future__ import annotations

from hrpc.errors import HrpcError


class ServerMissing(HrpcError):
    """Neither a container image nor a program for a server is on this machine; the message names both."""

    def __init__(self, name: str, image: str, programs: str) -> None:
        super().__init__(
            f"{name} is not on this machine: run `make servers` (or install {programs}), "
            f"or a Docker engine with the images {image} and testcontainers/ryuk"
        )
        self.name = name


class ServerFailed(HrpcError):
    """A server did not start, did not stop in time, or was asked for something that its state does not allow."""
