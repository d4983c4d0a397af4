"""Keeps the service's registration, and knows how it stands."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Protocol

from hrpc_sidecar.errors import RegisterReplayError, SidecarError
from hrpc_sidecar.events import ConnectionEvent
from hrpc_sidecar.node import ServiceNode
from hrpc_sidecar.status import Status, error_kind, rfc3339


class Client(Protocol):
    """What a controller needs of `hrpc_sidecar.ApiClient`."""

    async def register(self, node: ServiceNode) -> None: ...

    async def drain(self, node: ServiceNode, grace_period: float) -> None: ...

    async def deregister(self, node: ServiceNode) -> None: ...


class Controller:
    """Registers a service when its agent has connected, and counts what happens. `status` may be read in any thread."""

    def __init__(self, client: Client, node: ServiceNode) -> None:
        self.node = node
        self._client = client
        self._registered = asyncio.Event()
        self._connected = False
        self._seen: tuple[ConnectionEvent | None, float] = (None, 0.0)
        self._connected_at = self._disconnected_at = self._error_at = 0.0
        self._disconnects = self._replays = self._failures = 0
        self._sent = ("", 0)
        self._error: Exception | None = None
        # What changes together is changed under the lock, so that no thread takes a snapshot of a half of it. Each
        # change is counted after it was made: a snapshot with an older count is made anew.
        self._lock = threading.Lock()
        self._changes = 0
        self._snapshot = (0, Status())

    def status(self) -> Status:
        """How it stands now."""
        changes, status = self._snapshot
        return status if changes == self._changes else self._taken()

    @property
    def error(self) -> Exception | None:
        """The last error."""
        return self._error

    async def registered(self) -> None:
        """Waits until the agent has taken the registration."""
        await self._registered.wait()

    def observe_event(self, event: ConnectionEvent) -> None:
        """Remembers an event as the last one; it changes nothing else."""
        self._seen = (event, time.time())
        self._changes += 1

    async def on_connected(self) -> None:
        """Registers, because the agent has connected, maybe without knowing the service. Raises
        `RegisterReplayError`."""
        with self._lock:
            if not self._connected:
                self._connected = True
                self._connected_at = time.time()
            self._sent = (self.node.name, self.node.port)
            self._changes += 1
        try:
            await self._client.register(self.node)
        except SidecarError as error:
            failed = RegisterReplayError(*self._sent, error)
            with self._lock:
                self._failures += 1
            self.record_error(failed)
            raise failed from error
        with self._lock:
            self._replays += 1
            self._registered.set()
            self._changes += 1

    def on_disconnected(self) -> None:
        """The stream has ended: whether the agent still knows the service is not known."""
        with self._lock:
            self._connected = False
            self._registered.clear()
            self._disconnects += 1
            self._disconnected_at = time.time()
            self._changes += 1

    def record_error(self, error: Exception) -> None:
        """Remembers an error as the last one."""
        with self._lock:
            self._error, self._error_at = error, time.time()
            self._changes += 1

    async def drain(self, grace_period: float) -> None:
        """Has the agent send no new calls; `grace_period` in seconds. Raises `SidecarApiError`."""
        try:
            await self._client.drain(self.node, grace_period)
        except SidecarError as error:
            self.record_error(error)
            raise

    async def deregister(self) -> None:
        """Has the agent forget the service. Raises `SidecarApiError`."""
        try:
            await self._client.deregister(self.node)
        except SidecarError as error:
            self.record_error(error)
            raise
        with self._lock:
            self._registered.clear()
            self._changes += 1

    def _taken(self) -> Status:
        with self._lock:
            changes = self._changes
            taken = self._now()
            self._snapshot = (changes, taken)
        return taken

    def _now(self) -> Status:
        (event, seen_at), error = self._seen, self._error
        return Status(
            connected=self._connected,
            registered=self._registered.is_set(),
            last_service_name=self._sent[0],
            last_service_port=self._sent[1],
            last_event_type="" if event is None else event.type,
            last_event_id="" if event is None else event.id,
            last_event_at=rfc3339((event and event.generated_at) or seen_at),
            last_connected_at=rfc3339(self._connected_at),
            last_disconnected_at=rfc3339(self._disconnected_at),
            disconnect_count=self._disconnects,
            register_replay_count=self._replays,
            register_replay_failure_count=self._failures,
            last_error_kind="" if error is None else error_kind(error),
            last_error="" if error is None else str(error),
            last_error_at=rfc3339(self._error_at),
        )
