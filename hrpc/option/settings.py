"""The settings of a server, with their defaults, and the option that sets some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypeVar

from hrpc.abc import Database, GrpcService, HostedService, Instance, MessageQueue, Plugin
from hrpc.option.balancer import Balancers
from hrpc.option.consul import Consul
from hrpc.option.debug import DebugSettings
from hrpc.option.limits import NOTHING, Auth, BreakerSettings, ConcurrencyLimits, RateLimits
from hrpc.option.native import EngineSettings
from hrpc.option.processes import WorkerCount
from hrpc.option.retry import HedgingSettings, RetrySettings
from hrpc.option.run_step import RunStep

Hook = Callable[[], Any]

DEFAULT_PORT = 8888
DEFAULT_HEALTH_PORT = 6688
DEFAULT_METRICS_PORT = 2112
DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds: the default of Prometheus' client libraries."""


class Environment(StrEnum):
    """Where a service runs. It is the tag of its registration and the first part of every KV key."""

    DEVELOPMENT = "development"
    TESTING = "testing"
    STAGING = "staging"
    PRODUCTION = "production"


class Certificates(NamedTuple):
    """Paths of the server's PEM files: the certificate with its chain, its private key, and who vouches for clients."""

    public: str
    private: str
    client_ca: str | None = None


class ClientCertificates(NamedTuple):
    """How other services are called over TLS: paths of PEM files, and whom to expect. See `with_client_certs`."""

    ca: str
    public: str | None = None
    private: str | None = None
    name: str = "{service}"
    allow_plain: bool = False


class MessageLimits(NamedTuple):
    """How large one message may be, in bytes. See `with_message_limits`."""

    receive: int = 4 * 1024 * 1024
    send: int = 4 * 1024 * 1024


class Keepalive(NamedTuple):
    """When connections are asked for a sign of life, and when they are closed, in seconds. See `with_keepalive`."""

    time: float = 10.0
    timeout: float = 2.0
    minimum: float = 5.0
    permit_without_stream: bool = True
    idle: float | None = None
    age: float | None = None
    age_grace: float = 5.0


class RegistrationSettings(NamedTuple):
    """What the service says of itself in Consul. See `with_registration`."""

    address: str | None = None
    weight: int = 1
    version: str | None = None
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = NOTHING
    check_interval: float = 5.0
    check_timeout: float = 3.0
    deregister_after: float = 600.0
    tagged_addresses: Mapping[str, str | tuple[str, int]] = NOTHING
    zone: str = ""


class SnapshotSettings(NamedTuple):
    """Where what Consul said is kept, and for how many seconds it is used. See `with_snapshot`."""

    path: str
    max_age: float = 86400.0
    secrets: bool = False


class StopSettings(NamedTuple):
    """The waits and limits of a stop, in seconds. See `with_graceful_stop`."""

    drain_delay: float | None = None
    grace: float = 20.0
    step_limit: float = 5.0


class AuditSettings(NamedTuple):
    """The log line of each call. See `with_audit_log`."""

    enabled: bool = True
    sample: float = 1.0
    slow: float | None = 1.0
    payloads: bool = False
    payload_limit: int = 4096
    redact: tuple[str, ...] = ()


class ErrorSettings(NamedTuple):
    """What of an error a caller sees; None is as it is usual where the service runs. See `with_error_details`."""

    host: bool | None = None
    stack: bool = False
    context: bool | None = None
    source: bool = False


class Timeouts(NamedTuple):
    """The longest that calls may take, in seconds; None for no limit. See `with_default_timeout`."""

    default: float | None = None
    methods: Mapping[str, float | None] = NOTHING

    def of(self, path: str) -> float | None:
        """The limit for ``/package.Service/Method``: its own, else its service's, else the default."""
        return of_method(self.methods, path, self.default)


T = TypeVar("T")


def of_method(values: Mapping[str, T], path: str, default: T) -> T:
    """What `values` has for ``/package.Service/Method``: under its name, else under its service's, else `default`."""
    method = path.removeprefix("/")
    return values.get(method, values.get(method.partition("/")[0], default))


class TracingSettings(NamedTuple):
    """How calls are traced, as far as the code says it. See `with_tracing`."""

    ratio: float | None = None
    processors: tuple[Any, ...] = ()


class StaticServices(NamedTuple):
    """Services listed by hand: here, or in the file at `path`. See `with_static_services`."""

    listed: Mapping[str, tuple[Instance, ...]] = NOTHING
    path: str | None = None


class HostedSettings(NamedTuple):
    """What lives beside gRPC, and for how many seconds a stop waits for it. See `with_services`."""

    services: tuple[HostedService | GrpcService, ...] = ()
    max_shutdown: float | None = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a server is made from; the defaults are those of the Go framework."""

    server_name: str = ""
    environment: Environment = Environment.DEVELOPMENT
    host: str = "0.0.0.0"
    port: int = DEFAULT_PORT
    port_is_held: bool = False
    """Another process of ours holds the port, so that others may share it: no option, but ``hrpc run --reload``."""
    consul: Consul | None = None
    databases: tuple[Database, ...] = ()
    message_queues: tuple[MessageQueue, ...] = ()
    plugins: tuple[Plugin, ...] = ()
    announces: bool = False
    """Whether a plugin tells others where the service is: no option, but what `plugins` come to."""
    hosted: HostedSettings = field(default_factory=HostedSettings)
    ping: bool | None = None
    own_socket: bool = False
    """Whether something beside gRPC calls the server's own methods: no option, but what a plugin brings that does."""
    upstreams: tuple[str, ...] = ()
    static_services: StaticServices | None = None
    target: Literal["auto", "name", "address"] = "auto"
    snapshot: SnapshotSettings | None = None
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)
    registers: bool = True
    """Whether Consul, where there is one, is told of the server."""
    health_port: int | None = None
    check_kind: Literal["http", "grpc", "ttl"] = "grpc"
    metrics_port: int | None = None
    metrics_buckets: tuple[float, ...] = DEFAULT_BUCKETS
    certificates: Certificates | None = None
    client_certificates: ClientCertificates | None = None
    message_limits: MessageLimits = field(default_factory=MessageLimits)
    keepalive: Keepalive = field(default_factory=Keepalive)
    compression: Literal["gzip", "deflate"] | None = None
    max_streams: int | None = None
    reflection: bool | None = None
    channelz: bool | None = None
    debug: DebugSettings = field(default_factory=DebugSettings)
    interceptors: tuple[Any, ...] = ()
    exit_listeners: tuple[Hook, ...] = ()
    restart_listeners: tuple[Hook, ...] = ()
    pre_run: tuple[RunStep, ...] = ()
    post_run: tuple[RunStep, ...] = ()
    start_limit: float | None = None
    stop: StopSettings = field(default_factory=StopSettings)
    timeouts: Timeouts = field(default_factory=Timeouts)
    handler_threads: int = 32
    engine: EngineSettings = field(default_factory=EngineSettings)
    errors: ErrorSettings = field(default_factory=ErrorSettings)
    event_loop: Literal["auto", "asyncio", "uvloop"] = "auto"
    not_found: bool = False
    rate_limits: RateLimits = field(default_factory=RateLimits)
    concurrency: ConcurrencyLimits = field(default_factory=ConcurrencyLimits)
    auth: Auth | None = None
    breaker: BreakerSettings | None = None
    balancers: Balancers = field(default_factory=Balancers)
    retry: RetrySettings = field(default_factory=RetrySettings)
    hedging: HedgingSettings = field(default_factory=HedgingSettings)
    stack_skip: int = 1
    audit: AuditSettings = field(default_factory=AuditSettings)
    log_file: str | None = None
    log_times: Mapping[str, tzinfo] | None = None
    """The time fields of a log line; None for those of the Go framework."""
    tracing: TracingSettings | None = None
    workers: WorkerCount = 1
    node_id: int | None = None

    @property
    def pings(self) -> bool:
        """Whether the ping service is there; see `with_ping`."""
        return bool(self.hosted.services) if self.ping is None else self.ping

    @property
    def has_services(self) -> bool:
        """Whether something runs beside gRPC: hosted services, or consumers of message queues."""
        return bool(self.hosted.services) or any(queue.subscriptions for queue in self.message_queues)

    @property
    def kv_prefix(self) -> str:
        """What stands before every KV key: the prefix of `Consul`, else the environment."""
        return (self.consul and self.consul.prefix) or str(self.environment)

    @property
    def drain_delay(self) -> float:
        """Seconds between leaving Consul and refusing calls. Of what was not announced nobody has to notice."""
        if self.stop.drain_delay is not None:
            return self.stop.drain_delay
        return 1.0 if self.is_announced else 0.0

    @property
    def is_announced(self) -> bool:
        """Whether others are told where the server is, and at the end that it leaves."""
        return (self.consul is not None and self.registers) or self.announces

    @property
    def shown_of_errors(self) -> ErrorSettings:
        """`errors`, where None has become what is usual in this environment."""
        usual = self.environment is not Environment.PRODUCTION
        host, context = (usual if flag is None else flag for flag in (self.errors.host, self.errors.context))
        return self.errors._replace(host=host, context=context)


@dataclass(frozen=True, slots=True)
class Option:
    """One argument of ``new_server``: the fields of `Settings` that it sets. Later options win over earlier ones.

    What it has for the fields in `added` comes after what earlier ones have added.
    """

    name: str
    changes: Mapping[str, object]
    added: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        values = {**self.changes, **self.added}
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in values.items())})"
