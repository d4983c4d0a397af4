"""Who has chosen no node id gets one that no other process of this machine has, workers among them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import pytest
from loguru import logger

import hrpc
from hrpc import _runtime, uniqueid
from hrpc.errors import OptionError, StartError, UniqueIdError
from hrpc.uniqueid.nodes import FILE, nodes, own
from tests.echo import add_echo, call
from tests.elsewhere import elsewhere
from tests.process import Process, running, script
from tests.server.workers.fleet import fleet


@pytest.fixture(autouse=True)
def ids_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which nobody has a node id yet."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("HRPC_RUN_DIR", str(tmp_path))
    monkeypatch.setattr(_runtime.process_ids, "nodes", None)
    monkeypatch.setattr(_runtime.process_ids, "own", None)
    _runtime.process_ids.forget()
    yield
    _runtime.process_ids.forget()
    if _runtime.process_ids.nodes is not None:
        _runtime.process_ids.nodes.close()


MAKER = """
import os, signal, sys
from hrpc import uniqueid
if len(sys.argv) > 1:
    ids = uniqueid.next_ids(int(sys.argv[1]))
    with open(f"{os.path.dirname(__file__)}/{os.getpid()}.ids", "w") as file:
        print(*ids, file=file)
else:
    print("node:", uniqueid.get().node, flush=True)
    signal.pause()
"""


async def node_of(process: Process) -> int:
    return int((await process.says("node: ")).removeprefix("node: "))


async def test_processes_without_a_chosen_node_id_have_different_ones_and_the_next_takes_what_is_free(
    tmp_path: Path,
) -> None:
    path = tmp_path / "maker.py"
    path.write_text(MAKER)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(running(path)) for _ in range(4)]
        found = [await node_of(process) for process in processes]
        assert len({*found, uniqueid.get().node}) == 5
        assert "another machine may: choose with hrpc.with_node_id" in processes[0].output
        processes[0].send(signal.SIGKILL)
        await processes[0].ended()
        after = await stack.enter_async_context(running(path))
        assert await node_of(after) == found[0]


def test_what_writes_the_log_may_make_ids() -> None:
    lines: list[str] = []

    def write(line: str) -> None:
        lines.append(f"{uniqueid.next_id()} {line}")

    number = logger.add(write, format="{message}")
    try:
        making = threading.Thread(target=uniqueid.next_id, daemon=True)
        making.start()
        making.join(10)
        assert not making.is_alive()
    finally:
        if not making.is_alive():  # else the line is being written for ever, and nobody can wait for its end
            logger.remove(number)
    (line,) = lines
    assert "derived from the name of this machine" in line


async def test_8_processes_at_once_make_no_id_twice(tmp_path: Path) -> None:
    path = tmp_path / "maker.py"
    path.write_text(MAKER)
    async with AsyncExitStack() as stack:
        for process in [await stack.enter_async_context(running(path, None, "20000")) for _ in range(8)]:
            assert await process.ended() == 0, process.output
    made = [int(id) for file in tmp_path.glob("*.ids") for id in re.findall(r"\d+", file.read_text())]
    assert len(made) == len(set(made)) == 160_000


def test_a_forked_process_finds_a_node_id_of_its_own() -> None:
    mine = uniqueid.get().node
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, f"{uniqueid.parts(uniqueid.next_id()).node}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    other = int(os.read(read, 10))
    os.close(read)
    os.close(write)
    assert other != mine
    assert nodes().of([other]) is not None  # given back by its end
    assert uniqueid.get() is own()


def test_without_a_run_folder_a_node_id_has_to_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRPC_RUN_DIR", "none")
    with pytest.raises(UniqueIdError, match=r"without a run folder \(HRPC_RUN_DIR=none\): name one"):
        uniqueid.next_id()


def server(*options: hrpc.Option) -> hrpc.Server:
    made = hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_graceful_stop(drain_delay=0),
        *options,
    )

    async def make(_: bytes, __: object) -> bytes:
        return str(uniqueid.next_id()).encode()

    async def lost(_: bytes, __: object) -> bytes:
        raise UniqueIdError("unique ids: no node id is granted yet")

    add_echo(made, Make=make, Lost=lost)
    return made


async def test_ids_of_a_server_have_the_node_id_of_its_option_and_a_lost_one_is_unavailable() -> None:
    async with server(hrpc.with_node_id(77)) as running, grpc.aio.insecure_channel(running.address) as channel:
        assert uniqueid.parts(int(await call(channel, "Make"))).node == 77
        assert await asyncio.to_thread(lambda: uniqueid.get().node) == 77
        with pytest.raises(grpc.aio.AioRpcError, match="the source of unique ids is unavailable") as caught:
            await call(channel, "Lost")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert uniqueid.get().node == 77  # which this process keeps: none is guessed beside it
    async with server():
        assert uniqueid.get().node == 77
    with pytest.raises(OptionError, match=r"with_node_id\(node=1024\): takes a whole number from 0 to 1023"):
        hrpc.with_node_id(1024)


async def test_servers_of_one_process_may_have_one_node_id_and_make_no_id_twice() -> None:
    async with server(hrpc.with_node_id(78)) as mine, elsewhere(lambda: server(hrpc.with_node_id(78))) as other:
        async with grpc.aio.insecure_channel(mine.address) as first, grpc.aio.insecure_channel(other) as second:
            calls = [call(channel, "Make") for channel in (first, second) for _ in range(50)]
            made = [int(id) for id in await asyncio.gather(*calls)]
    assert len(set(made)) == 100
    assert {uniqueid.parts(id).node for id in made} == {78}


HOLDER = """
import signal
from hrpc.uniqueid.nodes import nodes
found = {}
print("node:", -1 if found is None else getattr(found, "node", found), flush=True)
signal.pause()
"""


@pytest.mark.parametrize("node", [77, None])
async def test_a_file_that_is_cleared_away_makes_no_id_twice(
    node: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrpc.uniqueid.nodes.LOOK", 0)
    path = tmp_path / "holder.py"
    path.write_text(HOLDER.format("nodes().derived()" if node is None else f"nodes().of([{node}])"))
    mine = own() if node is None else nodes().of([node])
    assert mine is not None
    before = uniqueid.parts(mine.next_id()).node
    (tmp_path / FILE).unlink()
    assert mine.node == before  # nobody else has taken it meanwhile
    async with running(path) as holder:
        assert await node_of(holder) != before
    (tmp_path / FILE).unlink()
    async with running(path) as holder:
        assert await node_of(holder) == before
        if node is None:
            assert mine.node != before
        else:
            with pytest.raises(UniqueIdError, match=r"node id 77 is another process' since the file .* was deleted"):
                mine.next_ids(5000)


async def test_the_file_of_a_process_that_makes_ids_does_not_get_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrpc.uniqueid.nodes.LOOK", 0)
    assert own().node is not None
    os.utime(tmp_path / FILE, (1, 1))
    assert own().node is not None
    assert time.time() - (tmp_path / FILE).stat().st_mtime < 3600


def test_while_one_server_follows_another_a_thread_always_finds_the_node_id_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[int] = []

    class Given(list[uniqueid.Generator]):
        def remove(self, generator: uniqueid.Generator) -> None:
            super().remove(generator)
            left.append(len(self))

    ids = _runtime.process_ids
    monkeypatch.setattr(ids, "given", Given())
    with ids.giving(uniqueid.Generator(1)):
        pass
    with ids.giving(uniqueid.Generator(2)), ids.giving(uniqueid.Generator(3)):
        pass
    assert left == [1, 1]
    ids.forget()


async def test_a_node_id_that_another_process_has_fails_the_start(tmp_path: Path) -> None:
    path = tmp_path / "holder.py"
    path.write_text(
        "import signal\nfrom hrpc.uniqueid.nodes import nodes\n"
        "print('node:', nodes().of([77]).node, flush=True)\nsignal.pause()\n"
    )
    async with running(path) as holder:
        await node_of(holder)
        with pytest.raises(StartError, match=r"with_node_id\(77\): another process of this machine has node id 77"):
            async with server(hrpc.with_node_id(77)):
                pass


async def test_workers_have_node_ids_of_their_own_also_while_one_replaces_another(tmp_path: Path) -> None:
    before = "async def make(request, context):\n    return str(hrpc.uniqueid.get().node).encode()\n"
    async with fleet(tmp_path, "hrpc.with_node_id(100)", before=before, methods="Make=make") as found:

        async def nodes_of_workers() -> dict[int, int]:
            seen: dict[int, int] = {}
            async with asyncio.timeout(60):
                while len(seen) < 2:
                    async with found.channel() as channel:
                        _, _, pid = (await call(channel, "Who")).split()
                        seen[int(pid)] = int(await call(channel, "Make"))
            return seen

        first = await nodes_of_workers()
        assert set(first.values()) == {100, 101}
        os.kill(found.pid, signal.SIGHUP)
        await found.says("replaced: worker 1")
        after = await nodes_of_workers()
        assert not first.keys() & after.keys()
        assert len(set(after.values())) == 2
        assert set(after.values()) <= {100, 101, 102}


async def test_workers_for_which_there_are_not_enough_node_ids_do_not_start(tmp_path: Path) -> None:
    path = script(tmp_path, "hrpc.with_workers(2)", "hrpc.with_listen_port(0)", "hrpc.with_node_id(1022)")
    async with running(path) as process:
        assert await process.ended() == 1
    assert "the workers need the node ids 1022 to 1024, and 1023 is the last one" in process.output
