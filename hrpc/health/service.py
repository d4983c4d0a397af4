"""The standard gRPC health service (https://github.com/grpc/grpc/blob/master/doc/health-checking.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hrpc.health.checker import Kind
from hrpc.health.state import Health

SERVICE = "grpc.health.v1.Health"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthService(health_pb2_grpc.HealthServicer):
    """Answers for the server as a whole (the empty name) and for each of its services.

    The kinds of probes are names as well, for those who can only ask over gRPC, such as Kubernetes: ``readiness`` asks
    all that the probe over HTTP asks. Nobody can watch them, because nobody tells when a checker fails.
    """

    def __init__(self, health: Health, services: Collection[str]) -> None:
        self._health = health
        self._services = services
        self._ended = False

    async def Check(self, request: Any, context: Any) -> Any:
        """The state now; NOT_FOUND for a service that is not here."""
        status = self._status(request.service)
        if status == _UNKNOWN and request.service in list(Kind):
            status = _SERVING if (await self._health.ask(Kind(request.service))).well else _NOT_SERVING
        if status == _UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} here")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """The state now and after every change, until the server drains."""
        told = None
        while True:
            status = self._status(request.service)
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            elif self._ended:
                return
            else:
                await self._health.changed()

    def end_watches(self) -> None:
        """Ends the open watches: gRPC's stop waits for them, as for any call, for all of its grace."""
        self._ended = True
        self._health.notify()

    def _status(self, service: str) -> int:
        if service and service not in self._services and service not in self._health.services:
            return _UNKNOWN
        return _SERVING if self._health.serves(service) else _NOT_SERVING
