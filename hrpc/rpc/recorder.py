"""What generated code registers, kept until the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import grpc

from hrpc.errors import AlreadyRunning

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Recorder:
    """Takes the two calls that generated code makes on a gRPC server."""

    def __init__(self) -> None:
        self.methods: dict[str, Handler] = {}
        self.generic: list[grpc.GenericRpcHandler] = []
        self._closed = False

    @property
    def services(self) -> set[str]:
        """The names of the services whose methods are known."""
        return {path.split("/")[1] for path in self.methods}

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """What ``add_…Servicer_to_server`` calls with the methods of a service."""
        self._check_open()
        for name, handler in method_handlers.items():
            self.methods[f"/{service_name}/{name}"] = handler

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """What ``add_…Servicer_to_server`` calls as well, and older generated code alone."""
        self._check_open()
        for generic in generic_rpc_handlers:
            # Made by grpc.method_handlers_generic_handler; there is no public way to ask it for its methods.
            known = getattr(generic, "_method_handlers", None)
            if isinstance(known, dict):
                for path, handler in known.items():
                    self.methods.setdefault(path, handler)
            else:
                self.generic.append(generic)

    def copy(self) -> Recorder:
        """Another one with the same methods, which takes more of them for one life."""
        other = Recorder()
        other.methods.update(self.methods)
        other.generic.extend(self.generic)
        return other

    def close(self) -> None:
        """Takes nothing any more: the methods have been handed to the engine."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise AlreadyRunning("the server runs already: register servicers before it starts")
