"""A channel to bare servers, with a list of instances that a test changes: no Consul between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import hrpc
from hrpc.abc import KEEPALIVE_META, Instance
from hrpc.option import fold
from hrpc.rpc.outgoing import Outgoing
from hrpc.service.balanced_channel import Channel
from hrpc.service.channels import Channels
from hrpc.service.connections import Connections
from hrpc.service.dialing import Dialer


class Listed:
    """What a channel follows; `ports` are those of 127.0.0.1."""

    name = "fleet"

    def __init__(self, ports: Iterable[int] | None) -> None:
        self.instances: list[Instance] = []
        self.is_known = ports is not None
        self.callbacks: list[Callable[[], None]] = []
        self.replace(ports or (), known=self.is_known)

    def age(self) -> float:
        return 1.2 if self.is_known else float("inf")

    def on_change(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    async def answered(self, timeout: float) -> None:
        return None

    def replace(self, ports: Iterable[int], known: bool = True) -> None:
        self.is_known = known
        self.instances = [
            Instance(f"fleet-{port}", "fleet", "127.0.0.1", port, meta={KEEPALIVE_META: "5"}) for port in ports
        ]
        for callback in self.callbacks:
            callback()


class Fleet:
    """A channel, and the list that it follows."""

    def __init__(self, listed: Listed, channel: Channel, connections: Connections, outgoing: Outgoing) -> None:
        self.listed = listed
        self.channel = channel
        self.connections = connections
        self.outgoing = outgoing

    @property
    def counts(self) -> dict[str, int]:
        counts = self.channel.counts
        return {name: getattr(counts, name) for name in counts.__slots__}


@asynccontextmanager
async def fleet(ports: Iterable[int] | None, *options: hrpc.Option, breakers: Any = None) -> AsyncIterator[Fleet]:
    """A channel to servers on these ports; None: the registry has not answered yet."""
    settings = fold((hrpc.with_server_name("caller"), *options), {})
    listed, outgoing = Listed(ports), Outgoing("caller", breakers)
    async with Connections(Dialer(settings)) as connections:
        channel = Channels(settings, connections, outgoing).channel("fleet", listed)
        yield Fleet(listed, channel, connections, outgoing)


async def refused(port: int) -> None:
    """Waits until nothing listens on a port."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        writer.close()
