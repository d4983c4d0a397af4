"""A service and an agent that only remembers, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from hrpc_sidecar import App, ConnectionEvent, Service, ServiceNode, ServiceOptions, SidecarApiError
from hrpc_sidecar.events import CONNECTED, DISCONNECTED, HEARTBEAT

SECRET = "hunter2"

BEAT = ConnectionEvent(type=HEARTBEAT, id="2")
UP = ConnectionEvent(type=CONNECTED, id="1")


def down(error: Exception | None = None) -> ConnectionEvent:
    return ConnectionEvent(type=DISCONNECTED, error=error)


def options(name: str = "orders", port: int = 9090, instance: str = "orders-1") -> ServiceOptions:
    return ServiceOptions(
        app=App(id="app-1", name="shop", instance_id=instance, env="production", version="1.2", secret=SECRET),
        service=Service(name=name, port=port),
    )


def node() -> ServiceNode:
    return ServiceNode(options(), ["/shop.Orders/Get"])


class Remembering:
    """A client that writes down what it is asked for; the requests in `failing` fail, those in `held` wait."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: set[str] = set()
        self.held: set[str] = set()
        self.holds = asyncio.Event()
        self.go_on = asyncio.Event()

    async def register(self, node: ServiceNode) -> None:
        await self._called("register")

    async def drain(self, node: ServiceNode, grace_period: float) -> None:
        await self._called(f"drain {grace_period:g}")

    async def deregister(self, node: ServiceNode) -> None:
        await self._called("deregister")

    async def _called(self, what: str) -> None:
        self.calls.append(what)
        name = what.split()[0]
        if name in self.held:
            self.holds.set()
            await self.go_on.wait()
            self.calls.append(f"{what} done")
        if name in self.failing:
            raise SidecarApiError("POST", f"/{name}", 502, "UPSTREAM", "no Consul")


class Scripted:
    """A source with the events it is given; with `ends`, it ends after them."""

    def __init__(self, *events: ConnectionEvent, ends: bool = True) -> None:
        self.events = events
        self.ends = ends
        self.used_up = asyncio.Event()
        self.more: asyncio.Queue[ConnectionEvent] = asyncio.Queue()

    async def subscribe(self) -> AsyncGenerator[ConnectionEvent, None]:
        for event in self.events:
            yield event
        self.used_up.set()
        while not self.ends:
            yield await self.more.get()
