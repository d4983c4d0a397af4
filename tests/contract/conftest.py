"""Every contract test runs against DevConsul and against a real agent; both have to behave the same."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hrpc.testing.consul import DevConsul
from hrpc.testing.servers import ConsulServer, consul_server
from tests.contract.agent_client import AgentClient

TOKEN = "7f1c2b1e-5d0a-4c43-9a5e-0f6f8a3f9d11"
ACL = {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": TOKEN, "agent": TOKEN}}}


@asynccontextmanager
async def connected(address: str, token: str = "") -> AsyncIterator[AgentClient]:
    """A client with a name of its own; what it registered is gone at the end."""
    async with aiohttp.ClientSession() as session:
        client = AgentClient(session, address, f"contract-{uuid.uuid4().hex[:12]}", token)
        yield client
        for service_id in client.ids:
            await client.deregister(service_id)
        await client.ask("DELETE", f"/kv/{client.name}", recurse="")


@pytest.fixture(params=["devconsul", "consul"])
async def agent(request: pytest.FixtureRequest) -> AsyncIterator[AgentClient]:
    """An agent without ACLs."""
    if request.param == "devconsul":
        async with DevConsul() as fake, connected(fake.address) as client:
            yield client
    else:
        real: ConsulServer = request.getfixturevalue("consul")
        async with connected(real.address) as client:
            yield client


@pytest.fixture(scope="session")
def consul_with_acl(_shared: Any) -> ConsulServer:
    """The agent with ACLs of the whole run."""
    server: ConsulServer = _shared(lambda: consul_server(ACL))
    return server


@dataclass(frozen=True)
class Guarded:
    """One agent with ACLs, asked with the token that may do all, with none, and with one that nobody knows."""

    owner: AgentClient
    anonymous: AgentClient
    stranger: AgentClient


@pytest.fixture(params=["devconsul", "consul"])
async def guarded(request: pytest.FixtureRequest) -> AsyncIterator[Guarded]:
    """An agent with ACLs whose default policy is deny."""
    async with aiohttp.ClientSession() as session:

        def clients(owner: AgentClient) -> Guarded:
            unknown = str(uuid.uuid4())
            others = [AgentClient(session, owner.address, owner.name, token) for token in ("", unknown)]
            return Guarded(owner, *others)

        if request.param == "devconsul":
            async with DevConsul(token=TOKEN) as fake, connected(fake.address, TOKEN) as owner:
                yield clients(owner)
        else:
            real: ConsulServer = request.getfixturevalue("consul_with_acl")
            async with connected(real.address, TOKEN) as owner:
                yield clients(owner)


class Target:
    """An HTTP server to check; it answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.port = 0
        # Another agent may still check whoever had this port before.
        self.path = f"/health-{uuid.uuid4().hex}"
        self.requests: list[tuple[str, dict[str, str], str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, dict(request.headers), await request.text()))
        return web.Response(status=self.status, text=f"I say {self.status}")


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """An HTTP server to check. Tests name it before `agent`, whose check then ends first."""
    made = Target()
    app = web.Application()
    app.router.add_route("*", made.path, made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()
