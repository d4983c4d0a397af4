"""A lease that is lost makes no ids: another is taken, or there are none until Consul is back."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from pathlib import Path
from typing import cast

import grpc.aio
import pytest
from uniqueid_leases import OF_CHILDREN, calling, destroy_session, keys, marked, node_is_not, server

import hrpc
from hrpc import uniqueid
from hrpc.consul.sessions import Sessions
from hrpc.errors import UniqueIdError
from hrpc.testing.servers import ConsulServer
from hrpc_uniqueid import lease, leases
from tests import agent
from tests.echo import call
from tests.elsewhere import elsewhere
from tests.eventually import eventually
from tests.process import running, script

pytestmark = pytest.mark.usefixtures("often")


async def is_refused() -> str:
    """Waits until no ids are made; gives why."""

    async def refused() -> str:
        try:
            uniqueid.next_id()
        except UniqueIdError as error:
            return str(error)
        return ""

    return await eventually(refused)


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
    monkeypatch.setattr(leases, "QUIET", 0.5 / 60)
    async with server(own_consul, prefix, ttl=60):  # a busy machine may take ten seconds to start a Consul again
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
        async with elsewhere(lambda: server(own_consul, prefix, ttl=60)) as address, calling(address) as channel:
            assert uniqueid.parts(int(await call(channel, "Make"))).node != node


async def test_while_consul_is_away_for_longer_than_a_lease_no_ids_are_made_and_readiness_says_so(
    own_consul: ConsulServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path.name
    monkeypatch.setattr(lease, "MARGIN", 9.0)
    monkeypatch.setattr(leases, "QUIET", 0.05)
    await marked(own_consul, prefix)
    async with server(own_consul, prefix, hrpc.with_health_check(port=0)) as running:
        (node,) = await eventually(_node)  # the lease is short: on a busy machine it may be over for a moment
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
import threading, time
from hrpc import uniqueid
from hrpc_uniqueid import lease
lease.MARGIN, lease.RENEWALS = 9.0, 20
begun = threading.Event()

async def make(request, context):
    return str(uniqueid.next_id()).encode()

def tell():
    last = time.monotonic()
    begun.set()
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
    threading.Thread(target=tell, daemon=True).start()
    await asyncio.to_thread(begun.wait)
    return b""
"""


async def test_an_id_that_is_refused_hurries_one_renewal_and_no_others() -> None:
    class Counted(lease.Lease):
        steps = 0

        async def step(self) -> None:
            self.steps += 1
            self._held = lease.Held(7, "a session", 0)
            await asyncio.sleep(0)

    kept = Counted(leases.Leases(cast(Sessions, None), "development/uniqueid", 24 * 3600.0), "shop", None)
    keeping = asyncio.create_task(kept.keep())

    async def has_renewed(times: int) -> bool:
        return kept.steps >= times

    for times in (1, 2):
        assert kept.generator.when_refused is not None
        kept.generator.when_refused()
        await eventually(partial(has_renewed, times))
        for _ in range(20):
            await asyncio.sleep(0)
        assert kept.steps == times
    keeping.cancel()
    await asyncio.wait({keeping})


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
