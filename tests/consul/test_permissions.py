"""The ACL policies of docs/consul.md: enough for what each is said to be for, and nothing of it can be left out."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

import hrpc
from hrpc.abc import Selection
from hrpc.consul import connect, entry
from hrpc.errors import ConsulPermissionDenied, StartError
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer, consul_server
from tests.echo import add_echo
from tests.eventually import eventually

OWNER = str(uuid.uuid4())
ACL = {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": OWNER, "agent": OWNER}}}
DOCS = Path(__file__).parents[2] / "docs/consul.md"
REGISTER, FIND, CONFIGURE = re.findall(r"^```hcl\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)


class Owner:
    """Asks an agent with the token that may all."""

    def __init__(self, consul: ConsulServer) -> None:
        self.address = consul.address

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}/v1{path}", data, method=method)
        request.add_header("X-Consul-Token", OWNER)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def token(self, *rules: str) -> str:
        """The secret of a new token with these rules."""
        policy = self.ask("PUT", "/acl/policy", {"Name": f"test-{uuid.uuid4()}", "Rules": "\n".join(rules)})
        secret: str = self.ask("PUT", "/acl/token", {"Policies": [{"ID": policy["ID"]}]})["SecretID"]
        return secret

    def instances(self, name: str) -> list[str]:
        return [found["Service"]["ID"] for found in self.ask("GET", f"/health/service/{name}?passing")]


@pytest.fixture(scope="module")
def owner(_shared: Any) -> Owner:
    """That of an agent on which everything else needs a policy."""
    return Owner(_shared(lambda: consul_server(ACL)))


def a_server(owner: Owner, name: str, token: str, *options: hrpc.Option) -> hrpc.Server:
    server = hrpc.new_server(
        hrpc.with_server_name(name),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(Consul(address=owner.address, token=token)),
        hrpc.with_graceful_stop(drain_delay=0),
        *options,
    )
    add_echo(server)
    return server


async def test_registration_its_checks_and_maintenance_need_to_write_the_own_service_and_nothing_else(
    owner: Owner,
) -> None:
    every_second = hrpc.with_registration(check_interval=1)
    token = owner.token(REGISTER)
    async with a_server(owner, "orders", token, hrpc.with_health_check(kind="ttl"), every_second) as server:
        consul = server._running and server._running.parts.consul
        assert consul is not None

        async def listed() -> bool:
            return len(owner.instances("orders")) == 1

        async def out() -> bool:
            return not owner.instances("orders")

        await eventually(listed)
        report = consul.report()
        assert report is not None
        own = report.registration
        for undo in (f"/agent/service/deregister/{own.id}", f"/agent/check/deregister/{entry.check_id(own)}"):
            puts = report.puts_again
            await asyncio.to_thread(owner.ask, "PUT", undo)

            async def put_again(puts: int = puts) -> bool:
                report = consul.report()
                return report is not None and report.puts_again > puts

            await eventually(put_again)
            await eventually(listed)
            report = consul.report()
            assert report is not None
        await server.enter_maintenance("upgrade")
        await eventually(out)
        await server.leave_maintenance()
        await eventually(listed)
    assert not owner.instances("orders")


@pytest.mark.parametrize("rules", ["", 'service "orders" { policy = "read" }', 'service "others" { policy = "write" }'])
async def test_without_it_the_start_fails_and_says_so(owner: Owner, rules: str) -> None:
    with pytest.raises(StartError, match=r"register.*403.*policies") as caught:
        async with a_server(owner, "orders", owner.token(rules)):
            pass
    assert isinstance(caught.value.__cause__, ConsulPermissionDenied)


async def test_finding_a_service_needs_to_read_it_and_the_nodes(owner: Owner) -> None:
    service_rule, node_rule = re.findall(r"^\w+ .*?^}$", FIND, re.MULTILINE | re.DOTALL)

    async def finds(*rules: str) -> bool:
        async with connect(Consul(address=owner.address, token=owner.token(*rules))) as client:
            watch = client.instances(Selection("users"))
            await watch.ready(20)
            return bool(watch.value)

    async with a_server(owner, "users", OWNER):

        async def listed() -> bool:
            return bool(owner.instances("users"))

        await eventually(listed)
        assert await finds(service_rule, node_rule)
        assert not await finds(service_rule)
        assert not await finds(node_rule)


async def test_settings_need_to_read_the_keys_of_the_environment_and_writing_them_needs_more(owner: Owner) -> None:
    await asyncio.to_thread(owner.ask, "PUT", "/kv/development/limit", b"7")
    reading, writing = owner.token(CONFIGURE), owner.token(CONFIGURE.replace("read", "write"))
    async with connect(Consul(address=owner.address, token=reading)) as client:
        assert await client.read("development/limit") == b"7"
        with pytest.raises(ConsulPermissionDenied):
            await client.write("development/limit", b"8")
        with pytest.raises(ConsulPermissionDenied):
            await client.read("production/limit")
    async with connect(Consul(address=owner.address, token=writing)) as client:
        await client.write("development/limit", b"8")
        assert await client.read("development/limit") == b"8"
