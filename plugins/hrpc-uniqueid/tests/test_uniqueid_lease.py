"""Node ids on lease in a real Consul: no two processes have one, and whoever ends gives it back."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from uniqueid_leases import OF_CHILDREN, calling, destroy_session, keys, marked, node_is_not, server, value

import hrpc_uniqueid
from hrpc import uniqueid
from hrpc.errors import StartError, UniqueIdError
from hrpc.testing import DevConsul
from hrpc.testing.consul.devconsul import NODE
from hrpc.testing.servers import ConsulServer, consul_server
from hrpc.uniqueid.generator import EPOCH, NODES
from hrpc_uniqueid import leases
from tests import agent
from tests.acl import ACL, Owner
from tests.echo import call
from tests.elsewhere import elsewhere
from tests.eventually import eventually
from tests.server.workers.fleet import fleet

pytestmark = pytest.mark.usefixtures("often")


async def test_instances_have_different_node_ids_and_give_them_back(consul: ConsulServer, tmp_path: Path) -> None:
    prefix = tmp_path.name
    await marked(consul, prefix)
    async with server(consul, prefix) as one, calling(one.address) as first:
        mine = int(await call(first, "Make"))
        async with elsewhere(lambda: server(consul, prefix)) as address, calling(address) as second:
            other = int(await call(second, "Make"))
            held = await keys(consul, prefix)
            assert len(held) == 2
            assert all(entry["Session"] for entry in held.values())
            assert {uniqueid.parts(mine).node, uniqueid.parts(other).node} <= held.keys()
        mine = uniqueid.next_id()
        node, is_held = uniqueid.parts(mine).node, await value(consul, prefix, uniqueid.parts(mine).node)
        assert is_held["until"] > mine >> 22
        assert (is_held["server"], is_held["pid"], is_held["worker"]) == ("shop", os.getpid(), None)
    with pytest.raises(UniqueIdError, match="the server that had leased the node id has stopped"):
        uniqueid.next_id()  # which is not made with a node id that is guessed
    entry = (await keys(consul, prefix))[node]
    assert "Session" not in entry
    until = (await value(consul, prefix, node))["until"]
    assert mine >> 22 <= until <= uniqueid.get().now()
    sessions = await asyncio.to_thread(agent.get, consul.address, "/v1/session/list")
    assert not [session for session in sessions if session["ID"] == held[node].get("Session")]
    async with server(consul, prefix):
        again = uniqueid.next_id()
        assert uniqueid.parts(again).node in held  # known ones first
        assert again >> 22 > until


async def test_the_ids_of_the_next_holder_begin_after_those_of_the_one_before(
    consul: ConsulServer, tmp_path: Path
) -> None:
    prefix = tmp_path.name
    await marked(consul, prefix)
    ahead = 2_000_000_000_000 - EPOCH  # one whose clock was years ahead has had node id 5
    await agent.store(consul.address, f"{prefix}/uniqueid/nodes/5", json.dumps({"until": ahead}))
    async with server(consul, prefix):
        node = uniqueid.get().node
        assert node != 5
        assert (await value(consul, prefix, 5))["until"] == ahead


async def test_all_node_ids_taken_fails_the_start_and_says_so(consul: ConsulServer, tmp_path: Path) -> None:
    prefix = tmp_path.name
    await marked(consul, prefix)
    taken = json.dumps({"until": 1 << 40}).encode()
    operations = [
        {"KV": {"Verb": "set", "Key": f"{prefix}/uniqueid/nodes/{node}", "Value": base64.b64encode(taken).decode()}}
        for node in range(NODES)
    ]
    for begin in range(0, NODES, 64):
        body = json.dumps(operations[begin : begin + 64]).encode()
        await asyncio.to_thread(agent.put, consul.address, "/v1/txn", body)
    with pytest.raises(StartError) as caught:
        async with server(consul, prefix):
            pass
    assert isinstance(caught.value.__cause__, UniqueIdError)
    assert f"all 1024 node ids below {prefix}/uniqueid/nodes are taken: 0 are leased, 1024 were a moment ago" in str(
        caught.value
    )
    await agent.store(consul.address, f"{prefix}/uniqueid/nodes/700", json.dumps({"until": 1}))
    async with server(consul, prefix):
        assert uniqueid.get().node == 700


async def test_a_token_without_rights_fails_the_start_and_the_policy_of_the_readme_is_enough(
    launch: Any, tmp_path: Path
) -> None:
    consul, prefix = launch(lambda: consul_server(ACL)), tmp_path.name
    owner = Owner(consul.address)
    readme = (Path(hrpc_uniqueid.__file__).parents[1] / "README.md").read_text()
    rules = readme.partition("```hcl\n")[2].partition("```")[0].replace("production", prefix)
    service = ['service_prefix "" { policy = "write" }', 'agent_prefix "" { policy = "read" }']
    without = await owner.token("without", [*service, f'key_prefix "{prefix}/" {{ policy = "write" }}'])
    await owner.ask("PUT", f"/kv/{prefix}/uniqueid/since", "2026-01-01")
    with pytest.raises(StartError, match=r"hrpc-uniqueid: Consul at .* answers 403 to PUT /v1/session/create"):
        async with server(consul, prefix, token=without):
            pass
    enough = await owner.token("enough", [*service, rules])
    async with server(consul, prefix, token=enough):
        assert uniqueid.parts(uniqueid.next_id()).node == uniqueid.get().node


async def test_workers_lease_node_ids_of_their_own_and_so_does_the_one_that_replaces_another(
    consul: ConsulServer, tmp_path: Path
) -> None:
    prefix = tmp_path.name
    await marked(consul, prefix)
    before = (
        "import hrpc_uniqueid\nasync def make(request, context):\n"
        "    return str(hrpc.uniqueid.parts(hrpc.uniqueid.next_id()).node).encode()\n"
    )
    options = (
        f'hrpc.with_consul(Consul(address="{consul.address}", prefix="{prefix}"))',
        "hrpc_uniqueid.with_leased_node_id(ttl=10)",
    )
    async with fleet(tmp_path, *options, before=before, environ=OF_CHILDREN, methods="Make=make") as found:

        async def made() -> set[int]:
            seen: dict[int, int] = {}

            async def both() -> bool:
                async with found.channel() as channel:
                    _, _, pid = (await call(channel, "Who")).split()
                    seen[int(pid)] = int(await call(channel, "Make"))
                return len(seen) == 2

            await eventually(both)
            return set(seen.values())

        assert len(await made()) == 2
        os.kill(found.pid, signal.SIGHUP)
        await found.says("replaced: worker 1")
        assert len(await made()) == 2
        found.process.send(signal.SIGTERM)
        assert await found.ended() == 0
    assert not [entry for entry in (await keys(consul, prefix)).values() if "Session" in entry]


async def test_a_job_has_a_node_id(consul: ConsulServer, tmp_path: Path) -> None:
    await marked(consul, tmp_path.name)
    made = server(consul, tmp_path.name)

    async def job() -> int:
        return uniqueid.next_id()

    assert await asyncio.to_thread(made.run, job) > 0


async def test_with_the_fake_agent_for_development_nobody_waits(capsys: pytest.CaptureFixture[str]) -> None:
    assert leases.FAKE == NODE
    async with DevConsul() as fake:
        async with server(fake, "development"):
            node, before = uniqueid.get().node, uniqueid.next_id()
            await destroy_session(fake, "development", node)
            assert await node_is_not(node) != node
            assert uniqueid.next_id() > before
    assert "waiting" not in capsys.readouterr().out
