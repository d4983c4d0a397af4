"""Servers that lease their node ids, and what of them is in Consul."""

from __future__ import annotations

import asyncio
import os
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio

import hrpc
import hrpc_uniqueid
from hrpc import uniqueid
from hrpc.errors import UniqueIdError
from hrpc.option import Consul
from hrpc.testing import DevConsul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.echo import add_echo
from tests.eventually import eventually

OF_CHILDREN = {"PYTHONPATH": os.pathsep.join([os.getcwd(), str(Path(hrpc_uniqueid.__file__).parents[1])])}


def server(
    consul: ConsulServer | DevConsul, prefix: str, *options: hrpc.Option, ttl: float = 10, **settings: Any
) -> hrpc.Server:
    made = hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_graceful_stop(drain_delay=0),
        hrpc.with_consul(Consul(address=consul.address, prefix=prefix, **settings)),
        hrpc_uniqueid.with_leased_node_id(ttl=ttl),
        *options,
    )

    async def make(_: bytes, __: object) -> bytes:
        return str(uniqueid.next_id()).encode()

    add_echo(made, Make=make)
    return made


async def marked(consul: ConsulServer | DevConsul, prefix: str) -> None:
    """Says that node ids have been leased here before."""
    await agent.store(consul.address, f"{prefix}/uniqueid/since", "2026-01-01")


async def keys(consul: ConsulServer | DevConsul, prefix: str) -> dict[int, dict[str, Any]]:
    """The keys of node ids."""
    names = await asyncio.to_thread(agent.get, consul.address, f"/v1/kv/{prefix}/uniqueid/nodes/?keys")
    found = {}
    for name in names:
        (entry,) = await asyncio.to_thread(agent.get, consul.address, f"/v1/kv/{urllib.parse.quote(name)}")
        found[int(name.rpartition("/")[2])] = entry
    return found


async def value(consul: ConsulServer | DevConsul, prefix: str, node: int) -> dict[str, Any]:
    path = f"/v1/kv/{prefix}/uniqueid/nodes/{node}?raw"
    found: dict[str, Any] = await asyncio.to_thread(agent.get, consul.address, path)
    return found


async def destroy_session(consul: ConsulServer | DevConsul, prefix: str, node: int) -> None:
    session = (await keys(consul, prefix))[node]["Session"]
    await asyncio.to_thread(agent.put, consul.address, f"/v1/session/destroy/{session}")


async def node_is_not(node: int) -> int:
    """The node id that is leased after this one."""

    async def another() -> int | None:
        try:
            found = uniqueid.get().node
        except UniqueIdError:
            return None
        return None if found == node else found + 1

    return (await eventually(another) or 0) - 1


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel
