"""The contracts between hrpc and what it is made of. Nothing here knows a driver, Consul or an engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import grpc

T_co = TypeVar("T_co", covariant=True)
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class PoolStats(NamedTuple):
    """The connections of a pool at one moment: in use, idle, and how many callers wait for one."""

    used: int
    idle: int
    waiting: int


class StoredSettings(NamedTuple):
    """A JSON object from the configuration center, with the key it was read from (for error messages)."""

    key: str
    values: Mapping[str, Any]


class Pool(Protocol):
    """An open database."""

    @property
    def client(self) -> object:
        """What the module's ``get()`` gives."""

    async def ping(self) -> None:
        """Asks the server for a sign of life; raises `DatabaseUnavailable` without one."""

    def stats(self) -> PoolStats:
        """The pool's connections now."""

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether this error, raised in a handler, says that the server is away."""

    def take_over(self, old: Any) -> None:
        """Puts itself beneath the client of `old`, another pool of the same database, whose settings have changed.

        Whoever uses the client borrows here from now on. `old` serves those who have come to it already; whoever
        opened it then closes it, which waits for them.
        """


@runtime_checkable
class Counted(Protocol):
    """A pool that counts what happens in it; metrics tell of it."""

    @property
    def activity(self) -> PoolActivity:
        """What has happened until now. A pool that takes over another goes on with its counts."""


class PoolActivity(Protocol):
    """Counts that only grow."""

    opened: int
    """Connections that were made."""
    timeouts: int
    """Borrowers that gave up."""
    closed: Mapping[str, int]
    """Connections that were closed, by reason."""
    failed: Mapping[str, int]
    """Attempts to connect that failed, by reason."""

    def histogram(self) -> tuple[list[int], float]:
        """How many borrowers waited for how long, by the bounds of `POOL_WAITS`, and all their seconds."""


POOL_WAITS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0)
"""The bounds of the histogram of waits for a connection, in seconds."""


class Database(Protocol):
    """The recipe for a database: what ``mysql.new()`` and ``redis.new()`` give. It holds no connection."""

    @property
    def name(self) -> str:
        """The name, also that of the KV key ``{env}/databases/{name}``."""

    @property
    def slot(self) -> Any:
        """The place from which the module's ``get()`` reads; it holds the open pool's `client`."""

    @property
    def needs_settings(self) -> bool:
        """Whether the settings have to come from the configuration center, because none were given in code."""

    def open(self, stored: StoredSettings | None) -> AbstractAsyncContextManager[Pool]:
        """Connects once, so that a mistake shows at the start, and gives the pool; closes it at the end.

        Raises `InvalidConfig`, `DatabaseUnavailable` or `DatabaseRefused`.
        """


class MessageQueue(Protocol):
    """The recipe for a message queue: what ``kafka.new(…)`` and ``rabbitmq.new(…)`` give. It holds no connection."""

    @property
    def name(self) -> str:
        """The name, also that of the KV key ``{env}/messagequeues/{name}``."""

    @property
    def slot(self) -> Any:
        """The place from which the plugin's ``get()`` reads; it holds the open broker's `client`."""

    @property
    def needs_settings(self) -> bool:
        """Whether the settings have to come from the configuration center, because none were given in code."""

    @property
    def subscriptions(self) -> Sequence[Any]:
        """What is consumed, each an `hrpc.queues.Subscription`."""

    def open(self, stored: StoredSettings | None) -> AbstractAsyncContextManager[Any]:
        """Connects once, so that a mistake shows at the start, and gives an `hrpc.queues.Broker`; closes it at the end.

        Raises `InvalidConfig`, `QueueUnavailable` or `QueueRefused`.
        """


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


KEEPALIVE_META = "keepalive"
"""The key of an instance's meta that says how many seconds it wants between two pings of a client."""

VERSION_META = "version"
"""The key of an instance's meta that says which version it is."""

ZONE_META = "zone"
"""The key of an instance's meta that says in which part of its datacenter it runs."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service, as a registry knows it."""

    id: str
    name: str
    address: str
    port: int
    weight: int = 1
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    datacenter: str = ""

    @property
    def endpoint(self) -> str:
        """``host:port``, with an IPv6 address in brackets."""
        return endpoint(self.address, self.port)

    @property
    def zone(self) -> str:
        """The part of the datacenter it runs in; empty when it has not said."""
        return self.meta.get(ZONE_META, "")

    @property
    def version(self) -> str | None:
        """The version it has registered; None when it has not said."""
        return self.meta.get(VERSION_META)


def endpoint(host: str, port: int) -> str:
    """``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local(host: str) -> str:
    """The address at which this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


class Selection(NamedTuple):
    """Which instances of a service are wanted; two that are equal are followed once."""

    name: str
    tags: tuple[str, ...] = ()
    """All of which an instance has to have."""
    version: str | None = None
    """Its version; None for any."""
    datacenters: tuple[str, ...] = ()
    """Where to look, in order of preference: the next one counts while those before it have no instance that is well.
    Empty for the registry's own."""


@dataclass(frozen=True, slots=True)
class WatchReport:
    """How following a value goes."""

    index: int | None
    """What the source numbers its newest answer with; None before the first one, and after an error."""
    age: float
    """Seconds since the source last confirmed the value; infinite before its first answer."""
    error: str | None
    """Why it is not followed at the moment; None when it is."""
    held_for: float | None
    """Seconds for which the value has been kept although the source says that it is empty; None when it is not."""
    changes: int
    """How often the value has changed."""


class Watched(Protocol[T_co]):
    """A value that follows its source in the background; reading it never waits."""

    @property
    def known(self) -> bool:
        """Whether the source has answered at least once."""

    @property
    def value(self) -> T_co:
        """The newest value; before the first answer, that of an empty source."""

    def age(self) -> float:
        """Seconds since the source last confirmed the value; infinite before the first answer."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back, in the event loop, after the first answer and after every change of the value."""

    async def ready(self, timeout: float | None) -> None:
        """Waits for the first answer, at most `timeout` seconds if any; raises the source's last error."""

    def report(self) -> WatchReport:
        """How following it goes."""


class Discovery(Protocol):
    """Finds the instances of services."""

    def instances(self, selection: Selection) -> Watched[Sequence[Instance]]:
        """The instances that pass their checks. The first call for a selection begins its watch."""

    def fetch_instances(self, selection: Selection) -> Sequence[Instance]:
        """The same, asked for now. Blocks the calling thread; for the first use of a name that nobody announced."""

    def release(self, selection: Selection) -> None:
        """Ends the watch of a selection that nobody reads any more. Called in the event loop."""

    async def services(self) -> Mapping[str, Sequence[str]]:
        """The names of all services, with all tags that instances of theirs have."""


class KeyValue(Protocol):
    """A store of configuration values."""

    async def read(self, key: str) -> bytes | None:
        """The value of `key` now; None when there is none."""

    async def write(self, key: str, value: bytes) -> None:
        """Stores a value; it is durable when this returns."""

    def watch(self, key: str) -> Watched[bytes | None]:
        """The value of `key`, followed. The first call for a key begins its watch."""

    def fetch_key(self, key: str) -> bytes | None:
        """The value of `key`, asked for now. Blocks the calling thread."""


class Check(NamedTuple):
    """How a registry finds out whether an instance is well. Durations are in seconds.

    `target` is a URL for kind "http", ``host:port/service`` of the standard gRPC health service for kind "grpc", and
    empty for kind "ttl", for which the instance itself says every `interval` seconds that it is well.
    """

    kind: Literal["http", "grpc", "ttl"]
    target: str
    interval: float
    timeout: float
    deregister_after: float
    tls: bool = False

    @property
    def ttl(self) -> float:
        """Seconds without a word from the instance after which it counts as not well: two words may get lost."""
        return 3 * self.interval


class Registration(NamedTuple):
    """What a service tells a registry about itself. Durations are in seconds."""

    id: str
    name: str
    address: str
    port: int
    tags: tuple[str, ...]
    meta: Mapping[str, str]
    weight: int
    check: Check
    tagged_addresses: Mapping[str, tuple[str, int]] = MappingProxyType({})
    """Further addresses by name, such as ``wan``: host and port."""


class RegistrationReport(NamedTuple):
    """How a registration stands now. Durations are in seconds."""

    registration: Registration
    present: bool
    """Whether the registry listed it when it was last asked."""
    missing_for: float | None
    """Since when it is not known to be listed; None while it is."""
    error: str | None
    """What kept it from being listed, when that is an error of the registry."""
    put_ago: float | None
    """Since it was last sent; None when it never was."""
    puts_again: int
    """How often it was missing or different and was sent again."""
    maintenance: str | None
    """Why it is out of rotation; None when it is not."""


class Registry(Protocol):
    """Keeps a service listed while it is entered."""

    @property
    def present(self) -> bool:
        """Whether the registry listed the service when it was last asked."""

    def report(self) -> RegistrationReport | None:
        """How the registration stands; None while nothing is registered."""

    async def maintenance(self, reason: str | None) -> None:
        """Takes the service out of rotation, or back in with None, until further notice.

        Raises the registry's error when it cannot be told now; it is then told as soon as it answers.
        """

    def registered(self, registration: Registration) -> AbstractAsyncContextManager[None]:
        """Registers; keeps the entry alive, whatever happens to the registry; deregisters at the end."""


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


class Span(Protocol):
    """A call in a trace, from its making to `end`."""

    def end(self, code: grpc.StatusCode, error: BaseException | None) -> None:
        """The call has ended, with this status; `error` is what it raised. Called in the task that began it."""


class OutgoingSpan(Span, Protocol):
    """A call to another service."""

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """What tells the callee of its place in the trace: ``traceparent`` and the like."""


class SendingSpan(Protocol):
    """The sending of a message, from its making to `end`."""

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """What tells those who handle the message of its place in the trace."""

    def end(self, error: BaseException | None = None) -> None:
        """The broker has it, or sending it has failed with `error`."""


class RequestSpan(Protocol):
    """A request to a database or to Consul in a trace, from its making to `end`."""

    def end(self, error: BaseException | None = None, attributes: Mapping[str, str | int] | None = None) -> None:
        """The request has been answered, or has failed with `error`; `attributes` are those of the answer."""


class Tracer(Protocol):
    """Tells an observer what calls do and how long it takes them. The names are OpenTelemetry's."""

    def serving(self, path: str) -> Callable[[Any, Any], Span] | None:
        """Asked once for each method that is served, ``/package.Service/Method``; None when it is not traced.

        What it gives is called for each call, in the call's task, with the call's `hrpc.context.Context` (which is the
        current one, and whose IDs it sets) and its ``grpc.aio.ServicerContext``.
        """

    def calling(self, path: str, target: str = "") -> Callable[[str], OutgoingSpan] | None:
        """The same for a method that is called; `target` is the name of the service, if it is known.

        What it gives is called for each call with the ``host:port`` that the call goes to, empty when not known.
        """

    def handling(self, context: Any, name: str, attributes: Mapping[str, str | int]) -> RequestSpan:
        """Begins a request that is answered, other than a gRPC call: as part of the trace that its
        `hrpc.context.Context` tells of, whose IDs it sets. It is current from now on in the task of the request.

        An attribute ``error.type`` at its end says that it failed.
        """

    def consuming(self, context: Any, topic: str, attributes: Mapping[str, str | int]) -> RequestSpan:
        """The same for a message of this topic, whose handler runs in the current task."""

    def sending(self, topic: str, attributes: Mapping[str, str | int]) -> SendingSpan:
        """Begins the sending of a message, as part of what the current task does."""

    def request(self, name: str, attributes: Mapping[str, str | int]) -> RequestSpan:
        """Begins a request to a database or to Consul, as part of what the current task does."""

    def request_in_call(self, name: str, attributes: Mapping[str, str | int]) -> RequestSpan | None:
        """The same; None outside of what is traced already."""

    def working(self, name: str) -> AbstractContextManager[None]:
        """Makes what is done in the context one trace: for jobs, which no call has begun."""
