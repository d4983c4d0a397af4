"""What extends a server, or lives beside gRPC in its life."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

PLUGIN_API_VERSION = 1
"""The version of the contract of plugins."""


class Plugin(Protocol):
    """What extends a server without being a part of hrpc: see `hrpc.with_plugins`.

    `hrpc.plugin.Plugin` says what else one may have.
    """

    @property
    def name(self) -> str:
        """The name, of which a server has one."""

    def load(self) -> AbstractAsyncContextManager[object]:
        """Entered when the server starts, with Consul and without databases; left when it stops, after these."""


Report = Callable[[Mapping[str, str]], Awaitable[Mapping[str, Any]]]
"""Makes what a page below ``/debug/`` answers from the parameters of the request."""


class HostedService(Protocol):
    """What lives beside gRPC in the life of a server: see `hrpc.with_services`.

    With workers it is there in each of them; one with an attribute ``workers = "one"`` only in the first.
    """

    @property
    def id(self) -> str:
        """The name, of which a server has one."""

    def setup(self) -> AbstractAsyncContextManager[object] | Awaitable[object]:
        """Acquires what it needs, in the event loop of the server, where pools and upstreams are there.

        A context manager is left when every run has returned and the calls have drained; a coroutine function will do
        where there is nothing to release.
        """

    async def run(self) -> object:
        """Does its work until it is cancelled; returns or raises before that only for a fatal error."""


class GrpcService(Protocol):
    """The same for the methods of a gRPC service that needs a set-up of its own; it may have a ``run()`` as well."""

    @property
    def id(self) -> str:
        """The name, of which a server has one."""

    def setup(self) -> AbstractAsyncContextManager[object] | Awaitable[object]:
        """As that of `HostedService`."""

    def register_on_server(self, server: Any) -> object:
        """Called once it is set up: passes `server` to the ``add_…Servicer_to_server`` that grpc_tools generates."""
