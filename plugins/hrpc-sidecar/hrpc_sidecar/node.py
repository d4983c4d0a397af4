"""What a service tells the sidecar-agent about itself."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from google.protobuf.descriptor import ServiceDescriptor

from hrpc.errors import OptionError

Protocol = Literal["grpc", "http"]


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The application, and this instance of it. The secret is in no repr, and is not sent."""

    id: str
    name: str
    instance_id: str
    env: str = ""
    version: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What the application runs on."""

    language: str = "python"
    version: str = field(default_factory=platform.python_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The service that others call."""

    name: str
    port: int
    type: str = "svc"
    namespace: str = "default"
    cluster_domain: str = "cluster.local"
    weight: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """What is known of a service before it serves. `managed_port` answers probes; 0 when none does.

    `server_port` is that of the service unless it is given. Raises `hrpc.errors.OptionError`.
    """

    app: App
    service: Service
    kernel: Kernel = field(default_factory=Kernel)
    protocol: Protocol = "grpc"
    server_port: int = 0
    managed_port: int = 0

    def __post_init__(self) -> None:
        if not self.server_port:
            object.__setattr__(self, "server_port", self.service.port)
        for what, text in (
            ("App(id=…)", self.app.id),
            ("App(instance_id=…)", self.app.instance_id),
            ("Service(name=…)", self.service.name),
        ):
            if not isinstance(text, str) or not text.strip():
                raise OptionError(f"hrpc_sidecar.{what}: is empty, and the sidecar-agent finds the service by it")
        for what, port in (
            ("Service(port=…)", self.service.port),
            ("ServiceOptions(server_port=…)", self.server_port),
            ("ServiceOptions(managed_port=…)", self.managed_port or 1),
        ):
            if type(port) is not int or not 0 < port <= 65535:
                raise OptionError(f"hrpc_sidecar.{what}: {port!r} is no port, which is 1 to 65535")
        if type(self.service.weight) is not int or self.service.weight < 1:
            raise OptionError(f"hrpc_sidecar.Service(weight={self.service.weight!r}): takes a whole number from 1")
        if self.protocol not in ("grpc", "http"):
            raise OptionError(f"hrpc_sidecar.ServiceOptions(protocol={self.protocol!r}): takes 'grpc' or 'http'")


class ServiceNode:
    """A service as it is registered: its options, and what follows from them and from its methods."""

    def __init__(
        self,
        options: ServiceOptions,
        services: Iterable[str | ServiceDescriptor] = (),
        run_date: datetime | None = None,
    ) -> None:
        """`services`: what `method_paths` takes. `run_date`: when the service began, now unless given.

        The secret of the application is not kept.
        """
        self.options = replace(options, app=replace(options.app, secret=""))
        self.methods = method_paths(services)
        self.run_date = _rfc3339(run_date or datetime.now(UTC))

    @property
    def name(self) -> str:
        """The name of the service."""
        return self.options.service.name

    @property
    def port(self) -> int:
        """The port of the service."""
        return self.options.service.port

    @property
    def dns(self) -> str:
        """``name.namespace.type.domain:port``."""
        s = self.options.service
        return f"{s.name}.{s.namespace}.{s.type}.{s.cluster_domain}:{s.port}"

    @property
    def proto_count(self) -> int:
        """How many gRPC services the methods belong to."""
        return len({path.rpartition("/")[0] for path in self.methods})

    def as_dict(self) -> dict[str, Any]:
        """The body of ``POST /register``."""
        return {
            **asdict(self.options),
            "dns": self.dns,
            "run_date": self.run_date,
            "proto_count": self.proto_count,
            "methods": list(self.methods),
        }

    def drain_request(self, grace_period: float) -> dict[str, Any]:
        """The body of ``POST /drain``; the grace period is in seconds."""
        return {
            "app_id": self.options.app.id,
            "app_instance_id": self.options.app.instance_id,
            "service_name": self.name,
            "grace_period": f"{grace_period:.3f}".rstrip("0").rstrip(".") + "s",
        }

    def deregister_request(self) -> dict[str, Any]:
        """The body of ``POST /deregister``."""
        return {
            "app_id": self.options.app.id,
            "app_instance_id": self.options.app.instance_id,
            "service_name": self.name,
            "service_port": self.port,
        }

    def __repr__(self) -> str:
        return f"ServiceNode({self.options!r}, methods={len(self.methods)})"


def method_paths(services: Iterable[str | ServiceDescriptor]) -> tuple[str, ...]:
    """``/package.Service/Method`` of all methods, sorted, each once.

    `services` are descriptors, as in ``orders_pb2.DESCRIPTOR.services_by_name["Orders"]``, or such paths themselves.
    Raises `hrpc.errors.OptionError`.
    """
    found: set[str] = set()
    for service in services:
        if not isinstance(service, str):
            found.update(f"/{service.full_name}/{method.name}" for method in service.methods)
        elif service.count("/") == 2 and service.startswith("/") and not service.endswith("/"):
            found.add(service)
        else:
            raise OptionError(f"hrpc_sidecar: {service!r} is no method, which is written /package.Service/Method")
    return tuple(sorted(found))


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
