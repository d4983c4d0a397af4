"""Node ids on lease in a real Consul: no two processes have one, and what is lost makes no ids."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import tomllib
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

import hrpc
import hrpc_uniqueid
from hrpc import uniqueid
from hrpc.errors import OptionError, StartError, UniqueIdError
from hrpc.option import Consul
from hrpc.testing import DevConsul
from hrpc.testing.consul.devconsul import NODE
from hrpc.testing.servers import ConsulServer, consul_server
from hrpc.uniqueid.generator import EPOCH, NODES
from hrpc_uniqueid import lease, leases
from tests import agent
from tests.echo import add_echo, call
from tests.elsewhere import elsewhere
from tests.eventually import eventually
from tests.faults.acl import ACL, Owner
from tests.process import running, script
from tests.server.workers.fleet import fleet

if TYPE_CHECKING:
    from conftest import Launch

OF_CHILDREN = {"PYTHONPATH": os.pathsep.join([os.getcwd(), str(Path(hrpc_uniqueid.__file__).parents[1])])}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed five times a second, so that tests need not wait."""
    monkeypatch.setattr(lease, "RENEWALS", 50)


def server(consul: ConsulServer | DevConsul, prefix: str, *options: hrpc.Option, **settings: Any) -> hrpc.Server:
    made = hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_graceful_stop(drain_delay=0),
        hrpc.with_consul(Consul(address=consul.address, prefix=prefix, **settings)),
        hrpc_uniqueid.with_leased_node_id(ttl=10),
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


async def is_refused() -> str:
    """Waits until no ids are made; gives why."""

    async def refused() -> str:
        try:
            uniqueid.next_id()
        except UniqueIdError as error:
            return str(error)
        return ""

    return await eventually(refused)


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel


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


async def test_a_session_that_somebody_destroys_ends_the_node_id_at_once_and_another_is_leased(
    consul: ConsulServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = tmp_path.name
    await marked(consul, prefix)
    async with server(consul, prefix):
        node, before = uniqueid.get().node, uniqueid.next_id()
        await destroy_session(consul, prefix, node)
        other = await node_is_not(node)
        after = uniqueid.next_id()
        assert uniqueid.parts(after).node == other
        assert after > before
    assert f"node id {node} is lost: its session has ended in Consul" in capsys.readouterr().out


async def test_a_key_that_somebody_deletes_is_lost_and_taken_again(
    consul: ConsulServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = tmp_path.name
    await marked(consul, prefix)
    async with server(consul, prefix):
        node = uniqueid.get().node
        await agent.delete(consul.address, f"{prefix}/uniqueid/nodes/{node}")

        async def again() -> bool:
            path = f"/v1/kv/{prefix}/uniqueid/nodes/?keys"
            try:
                return bool(await asyncio.to_thread(agent.get, consul.address, path))
            except OSError:
                return False

        await eventually(again)
        assert await eventually(_node) == (node,)
    assert "was taken away in Consul" in capsys.readouterr().out


async def _node() -> tuple[int, ...]:
    """The node id, in a tuple because it may be 0; empty when there is none."""
    try:
        return (uniqueid.get().node,)
    except UniqueIdError:
        return ()


async def test_an_agent_that_was_wiped_leaves_each_its_node_id_and_others_wait(
    own_consul: ConsulServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = tmp_path.name
    monkeypatch.setattr(leases, "QUIET", 0.05)
    async with server(own_consul, prefix):
        assert "waiting 0.5 s, in which leases from before run out" in capsys.readouterr().out
        node, before = uniqueid.get().node, uniqueid.next_id()
        await asyncio.to_thread(own_consul.kill)
        assert uniqueid.next_id() > before  # as long as the lease lasts
        own_consul.wipe()
        await asyncio.to_thread(own_consul.start)

        async def held() -> bool:
            try:
                return "Session" in (await keys(own_consul, prefix)).get(node, {})
            except OSError:
                return False

        await eventually(held)
        assert await eventually(_node) == (node,)
        assert uniqueid.next_id() > before
        capsys.readouterr()
        async with elsewhere(lambda: server(own_consul, prefix)) as address, calling(address) as channel:
            assert uniqueid.parts(int(await call(channel, "Make"))).node != node


async def test_while_consul_is_away_for_longer_than_a_lease_no_ids_are_made_and_readiness_says_so(
    own_consul: ConsulServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path.name
    monkeypatch.setattr(lease, "MARGIN", 9.0)
    monkeypatch.setattr(leases, "QUIET", 0.05)
    await marked(own_consul, prefix)
    async with server(own_consul, prefix, hrpc.with_health_check(port=0)) as running:
        node = uniqueid.get().node
        await asyncio.to_thread(own_consul.kill)
        assert f"node id {node} has not been confirmed in time, and may be another's" in await is_refused()
        async with calling(running.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="the source of unique ids is unavailable"):
                await call(channel, "Make")
        ready = f"127.0.0.1:{running.health_port}"
        with pytest.raises(OSError, match="503"):
            await asyncio.to_thread(agent.get, ready, "/readyz")
        await asyncio.to_thread(own_consul.start)
        await eventually(_node)
        await eventually(_makes)


async def _makes() -> bool:
    try:
        return uniqueid.next_id() > 0
    except UniqueIdError:
        return False


MAKER = """
from hrpc import uniqueid
from hrpc_uniqueid import lease
lease.MARGIN, lease.RENEWALS = 9.0, 20

async def make(request, context):
    return str(uniqueid.next_id()).encode()

def tell():
    import time
    last = time.monotonic()
    while True:
        now = time.monotonic()
        try:
            made = f"by node {uniqueid.parts(uniqueid.next_id()).node}"
        except Exception as error:
            made = str(error)
        if now - last > 1.0:
            os.write(1, f"first id after the pause: {made}\\n".encode())
            return
        last = now

async def watch(request, context):
    import threading
    threading.Thread(target=tell, daemon=True).start()
    return b""
"""


async def test_a_process_that_stood_still_for_longer_than_its_lease_makes_no_id_with_it(
    consul: ConsulServer, tmp_path: Path
) -> None:
    prefix = tmp_path.name
    await marked(consul, prefix)
    path = script(
        tmp_path,
        'hrpc.with_listen_port(0, host="127.0.0.1")',
        f'hrpc.with_consul(Consul(address="{consul.address}", prefix="{prefix}"))',
        "hrpc_uniqueid.with_leased_node_id(ttl=10)",
        before="import hrpc_uniqueid\n" + MAKER,
    )
    path.write_text(path.read_text().replace("add_echo(server)", "add_echo(server, Make=make, Watch=watch)"))
    async with running(path, OF_CHILDREN) as process:
        line = await process.says("tested serves on port")
        port = int(line.partition("serves on port ")[2].partition(",")[0].split()[0])
        async with calling(f"127.0.0.1:{port}") as channel:

            async def made() -> tuple[int, ...]:
                try:
                    return (uniqueid.parts(int(await call(channel, "Make"))).node,)
                except grpc.aio.AioRpcError:  # the lease is short: on a busy machine it may be over for a moment
                    return ()

            (node,) = await eventually(made)
            await call(channel, "Watch")
            process.send(signal.SIGSTOP)
            await destroy_session(consul, prefix, node)
            stopped = asyncio.get_running_loop().time()

            async def is_over() -> bool:
                return asyncio.get_running_loop().time() - stopped > 1.3

            await eventually(is_over)
            process.send(signal.SIGCONT)
            # Refused, or when the event loop was quicker, by another node.
            assert not (await process.says("first id after the pause: ")).endswith(f"by node {node}")
            assert await eventually(made) != (node,)


async def test_a_token_without_rights_fails_the_start_and_the_policy_of_the_readme_is_enough(
    launch: Launch, tmp_path: Path
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


async def test_the_plugin_needs_consul() -> None:
    made = hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_plugins(hrpc_uniqueid.UniqueID()),
    )
    with pytest.raises(StartError, match=r"hrpc-uniqueid: Consul: the server 'shop' has none; pass hrpc.with_consul"):
        async with made:
            pass


@pytest.mark.parametrize("ttl", [9.9, 61, True, "30"])
def test_a_lease_lasts_ten_seconds_to_a_minute(ttl: Any) -> None:
    with pytest.raises(OptionError, match="takes 10 to 60 seconds"):
        hrpc_uniqueid.with_leased_node_id(ttl=ttl)


def test_the_package_offers_itself_as_a_plugin_of_its_name() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["hrpc.plugins"][project["name"]].partition(":")
    assert getattr(import_module(module), name)().name == project["name"] == "hrpc-uniqueid"
