"""What serves gRPC, and what calls pass before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@runtime_checkable
class KnownMethods(Protocol):
    """A generic handler that can tell which methods it serves; an engine may serve these without asking it."""

    @property
    def methods(self) -> Mapping[str, Handler]:
        """The handlers by ``/package.Service/Method``."""


class Engine(Protocol):
    """Serves gRPC on one port."""

    @property
    def own_target(self) -> str | None:
        """Where the process can call its own server past its port, when something wants to; else None."""

    async def bind(self, host: str, port: int, certificates: Any | None) -> int:
        """Listens, without answering yet; gives the port that was bound. Raises `BindError`."""

    async def start(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Begins to answer."""

    async def stop(self, grace: float) -> None:
        """Takes no new call, gives the running ones `grace` seconds, and closes the port.

        A second call with a shorter grace shortens the first.
        """


class Admission(Protocol):
    """Lets calls of a method in, or refuses them before their handler is reached."""

    def admit(self) -> None:
        """Lets one call in. Raises the `CallError` that its caller gets instead."""

    def release(self) -> None:
        """A call that was let in has ended."""
