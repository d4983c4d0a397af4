"""One client for all that hrpc asks of Consul."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

from consul import base

from hrpc.abc import Instance, Registration
from hrpc.consul.registrar import Registrar
from hrpc.consul.transport import Transport, until_answered
from hrpc.consul.watch import EMPTY_HOLD, Watch
from hrpc.errors import ConsulRefused, ConsulUnreachable
from hrpc.option import Consul

T = TypeVar("T")

_FETCH_LIMIT = 3.0


class Api(base.Consul):  # type: ignore[misc]
    """python-consul2's API on our transport."""

    # The original's __init__ is left out: it lets CONSUL_HTTP_* win over what was given, and opens its own transport.
    def __init__(self, transport: Transport, datacenter: str | None) -> None:
        self.http = transport
        self.token = None
        self.dc = datacenter
        self.consistency = "default"
        self.agent = base.Consul.Agent(self)
        self.catalog = base.Consul.Catalog(self)
        self.health = base.Consul.Health(self)
        self.kv = base.Consul.KV(self)


@asynccontextmanager
async def connect(consul: Consul) -> AsyncIterator[Client]:
    """Opens a client, once the agent answers; ends its watches and closes it at the end. Raises `ConsulUnreachable`."""
    async with Transport(consul) as transport:
        await until_answered(transport, consul.timeout)
        if consul.datacenter:
            # An agent takes a datacenter that does not exist until it is asked for something there.
            await transport.request("GET", "/v1/catalog/services", {"dc": consul.datacenter})
        async with asyncio.TaskGroup() as watches:
            client = Client(consul, transport, watches)
            try:
                yield client
            finally:
                client.end_watches()


class Client:
    """Registry, discovery and key-value store in one: the contracts `Registry`, `Discovery` and `KeyValue`."""

    def __init__(self, consul: Consul, transport: Transport, tasks: asyncio.TaskGroup) -> None:
        self._consul = consul
        self._transport = transport
        self._api = Api(transport, consul.datacenter)
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._watches: dict[Hashable, Watch[Any]] = {}
        self._running: list[asyncio.Task[None]] = []
        self._registrar = Registrar(transport, self._api)

    @property
    def present(self) -> bool:
        """Whether the agent listed this instance when it was last asked."""
        return self._registrar.present

    def registered(self, registration: Registration) -> AbstractAsyncContextManager[None]:
        """Registers, keeps the entry while the context lasts, and deregisters. Raises `ConsulError`."""
        return self._registrar.registered(registration)

    def instances(self, name: str, tag: str) -> Watch[tuple[Instance, ...]]:
        """The passing instances of `name` with `tag`, followed."""

        async def query(index: int | None, wait: float) -> tuple[int, tuple[Instance, ...]]:
            return await self._health(name, tag, index, wait)

        return self._watch(("service", name, tag), f"service {name!r}", query, (), EMPTY_HOLD)

    def fetch_instances(self, name: str, tag: str) -> tuple[Instance, ...]:
        """The passing instances of `name` with `tag`, asked for now; blocks the thread."""
        return _in_thread(self._consul, lambda client: client.health_now(name, tag))

    async def health_now(self, name: str, tag: str) -> tuple[Instance, ...]:
        """The passing instances of `name` with `tag`, asked for now."""
        return (await self._health(name, tag, None, 0.0))[1]

    async def read(self, key: str) -> bytes | None:
        """The value of a key now; None when there is none."""
        return (await self._key(key, None, 0.0))[1]

    async def write(self, key: str, value: bytes) -> None:
        """Stores the value of a key; a watch on it shows it when this returns."""
        if not await self._api.kv.put(key, value):
            raise ConsulRefused(f"Consul did not store key {key!r}", 200)
        watch = self._watches.get(("key", key))
        if watch is not None:
            watch.accept(value)

    def watch(self, key: str) -> Watch[bytes | None]:
        """The value of a key, followed."""

        async def query(index: int | None, wait: float) -> tuple[int, bytes | None]:
            return await self._key(key, index, wait)

        return self._watch(("key", key), f"key {key!r}", query, None)

    def fetch_key(self, key: str) -> bytes | None:
        """The value of a key, asked for now; blocks the thread."""
        return _in_thread(self._consul, lambda client: client.read(key))

    def end_watches(self) -> None:
        """Cancels all watches."""
        for task in self._running:
            task.cancel()

    def _watch(
        self,
        key: Hashable,
        name: str,
        query: Callable[[int | None, float], Awaitable[tuple[int, T]]],
        empty: T,
        hold: float = 0.0,
    ) -> Watch[T]:
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = Watch(name, query, empty, hold)
            if _runs_in(self._loop):
                self._follow(watch)
            else:
                self._loop.call_soon_threadsafe(self._follow, watch)
        return watch

    def _follow(self, watch: Watch[Any]) -> None:
        self._running.append(self._tasks.create_task(watch.run(), name=f"hrpc: watch of {watch.name}"))

    async def _key(self, key: str, index: int | None, wait: float) -> tuple[int, bytes | None]:
        newest, entry = await self._api.kv.get(key, index=index, wait=f"{wait:g}s" if index else None)
        return int(newest or 0), cast("bytes | None", None if entry is None else entry["Value"] or b"")

    async def _health(self, name: str, tag: str, index: int | None, wait: float) -> tuple[int, tuple[Instance, ...]]:
        params = [("passing", "1"), ("stale", "")]
        params += [("tag", tag)] if tag else []
        params += [("dc", self._consul.datacenter)] if self._consul.datacenter else []
        params += [("index", str(index)), ("wait", f"{wait:g}s")] if index else []
        path = f"/v1/health/service/{name}"
        response = await self._transport.request("GET", path, params, wait=wait if index else 0.0)
        if response.headers.get("X-Consul-KnownLeader") == "false":
            raise ConsulUnreachable(f"the servers behind Consul at {self._transport.address} have no leader")
        entries = self._transport.json(f"GET {path}", response)
        try:
            found = tuple(sorted((_instance(entry) for entry in entries), key=lambda instance: instance.id))
            return int(response.headers.get("X-Consul-Index") or 0), found
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._transport.not_consul(f"GET {path}", response.code) from error


def _runs_in(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _instance(entry: dict[str, Any]) -> Instance:
    service = entry["Service"]
    return Instance(
        id=service["ID"],
        name=service["Service"],
        address=service.get("Address") or entry["Node"]["Address"],
        port=service["Port"],
        weight=(service.get("Weights") or {}).get("Passing", 1),
        tags=tuple(service.get("Tags") or ()),
        meta=service.get("Meta") or {},
    )


def _in_thread(consul: Consul, ask: Callable[[Client], Awaitable[T]]) -> T:
    # A loop of its own, since the caller may stand in the one that the client runs in, and has to wait for the answer.
    result: list[T] = []
    errors: list[BaseException] = []

    async def ask_once() -> T:
        async with Transport(consul) as transport, asyncio.TaskGroup() as tasks, asyncio.timeout(_FETCH_LIMIT):
            return await ask(Client(consul, transport, tasks))

    def run() -> None:
        try:
            result.append(asyncio.run(ask_once()))
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, name="hrpc-fetch", daemon=True)
    thread.start()
    thread.join()
    if not errors:
        return result[0]
    if isinstance(errors[0], TimeoutError):
        raise ConsulUnreachable(f"no answer from Consul at {consul.url} within {_FETCH_LIMIT:g} s") from errors[0]
    raise errors[0]
