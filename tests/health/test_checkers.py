"""Checkers of the user: each kind of probe asks its own, and only they say whether it passes."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

import hrpc
from hrpc import health
from hrpc.errors import NotRunning, OptionError
from hrpc.health import checker as checker_module
from hrpc.health.checker import Kind
from tests.eventually import eventually
from tests.health.probed import a_server, get, parts


class Index:
    """Something that a service needs."""

    def __init__(self) -> None:
        self.wrong: Exception | None = None
        self.asked = 0

    async def check(self) -> None:
        self.asked += 1
        if self.wrong is not None:
            raise self.wrong


@pytest.fixture
def asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker_module, "GOOD_FOR", 0.0)


@pytest.mark.parametrize("kind", ["startup", "liveness", "readiness"])
async def test_a_checker_lets_the_probes_of_its_kind_fail_and_no_others(kind: str, asked_each_time: None) -> None:
    index = Index()
    async with a_server() as server:
        health.check("index", index.check, kind=kind)
        assert (await get(server, f"/healthx/{kind}"))[1]["parts"] == {"server": "ok", "index": "ok"}
        index.wrong = ConnectionError("no answer from shard 3")
        for other in Kind:
            status, body = await get(server, f"/healthx/{other}")
            assert status == (503 if other == kind else 200)
            assert body["msg"] == ("index: ConnectionError: no answer from shard 3" if other == kind else "success")
        index.wrong = None
        assert (await get(server, f"/healthx/{kind}"))[0] == 200


async def test_what_is_registered_at_import_is_asked_in_every_life_and_the_rest_in_its_own(
    asked_each_time: None,
) -> None:
    health.check("early", lambda: True)
    for _ in range(2):
        async with a_server() as server:
            assert await parts(server) == {"server": "ok", "early": "ok"}
            health.check("late", lambda: False)
            assert await parts(server) == {"server": "ok", "early": "ok", "late": "it says no"}


async def test_a_sync_checker_may_block_and_has_the_resources_of_its_server(asked_each_time: None) -> None:
    threads = []

    def blocking() -> None:
        threads.append(threading.current_thread())
        hrpc.health.set_serving("from.a.Thread", True)

    async with a_server() as server:
        health.check("blocking", blocking)
        assert (await parts(server))["blocking"] == "ok"
    assert threading.main_thread() not in threads


async def test_a_checker_that_hangs_fails_at_its_limit_and_holds_one_thread_however_often_it_is_asked(
    asked_each_time: None,
) -> None:
    may_end = threading.Event()
    began: list[int] = []

    def hang() -> None:
        began.append(1)
        may_end.wait()

    async with a_server() as server:
        health.check("slow", hang, timeout=0.05)
        assert (await parts(server))["slow"] == "no answer within 0.05 s"
        for _ in range(3):
            assert (await parts(server))["slow"] == "it was asked before, and has not answered within 0.05 s"
        assert began == [1]
        may_end.set()

        async def well() -> bool:
            return (await parts(server))["slow"] == "ok"

        assert await eventually(well)


async def test_a_checker_that_swallows_its_cancellation_is_left_at_its_limit(asked_each_time: None) -> None:
    may_end = asyncio.Event()

    async def stubborn() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    async with a_server() as server:
        health.check("stubborn", stubborn, timeout=0.05)
        assert (await parts(server))["stubborn"] == "no answer within 0.05 s"
        assert (await parts(server))["stubborn"].startswith("it was asked before")
        may_end.set()


async def test_what_a_checker_raises_after_its_limit_is_nobodys_fault() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    ended = asyncio.Event()

    async def late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
            raise ValueError("too late")

    async with a_server() as server:
        health.check("late", late, timeout=0.05)
        assert (await parts(server))["late"] == "no answer within 0.05 s"
        await ended.wait()
    gc.collect()
    assert complaints == []


async def test_many_probes_ask_a_checker_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker_module, "GOOD_FOR", 60.0)
    index = Index()
    async with a_server() as server:
        health.check("index", index.check)
        await asyncio.gather(*(get(server, "/healthx/readiness") for _ in range(20)))
        assert index.asked == 1


async def test_an_exit_in_a_checker_is_its_failure_and_not_the_end_of_the_process(asked_each_time: None) -> None:
    def leave() -> None:
        raise SystemExit(3)

    async def cancel() -> None:
        raise asyncio.CancelledError

    async with a_server() as server:
        health.check("leave", leave)
        health.check("cancel", cancel)
        found = await parts(server)
    assert found["leave"].startswith("RuntimeError: raised SystemExit(3)")
    assert found["cancel"] == "cancelled itself"


async def test_what_is_checked_in_the_background_is_not_asked_by_probes() -> None:
    index = Index()
    health.check("index", index.check, every=3600)
    async with a_server() as server:
        for _ in range(5):
            assert (await parts(server))["index"] == "ok"
        assert index.asked == 1
        health.check("later", index.check, every=3600)
        for _ in range(5):
            assert (await parts(server))["later"] == "ok"
        assert index.asked == 2


async def test_what_the_background_finds_is_what_the_next_probe_says() -> None:
    index = Index()
    async with a_server() as server:
        health.check("index", index.check, every=0.01)
        assert (await parts(server))["index"] == "ok"
        index.wrong = ValueError("stale")

        async def fails() -> bool:
            return (await parts(server))["index"] == "ValueError: stale"

        assert await eventually(fails)


async def test_background_checks_end_before_the_pools_and_are_not_there_after_the_server() -> None:
    index = Index()
    async with a_server():
        health.check("index", index.check, every=0.01)

        async def twice() -> bool:
            return index.asked > 1

        await eventually(twice)
    assert not [task for task in asyncio.all_tasks() if "health" in task.get_name()]


async def test_a_change_is_in_the_log_once(asked_each_time: None, capsys: pytest.CaptureFixture[str]) -> None:
    index = Index()
    async with a_server() as server:
        health.check("index", index.check, kind="liveness")
        for wrong in (None, None, ValueError("stale"), ValueError("stale"), None, None):
            index.wrong = wrong
            await get(server, "/livez")
    output = capsys.readouterr().out
    assert output.count("probed: liveness fails: index: ValueError: stale") == 1
    assert output.count("probed: liveness is well again: index") == 1


async def test_a_server_that_stops_is_alive_whatever_its_checkers_say(asked_each_time: None) -> None:
    seen: list[Any] = []

    async def look(_: bytes, __: Any) -> bytes:
        entered.set()
        await may_end.wait()
        return b""

    import grpc.aio

    from tests.echo import SERVICE, add_echo

    entered, may_end = asyncio.Event(), asyncio.Event()
    server = hrpc.new_server(
        hrpc.with_server_name("probed"), hrpc.with_listen_port(0, "127.0.0.1"), hrpc.with_health_check(0)
    )
    add_echo(server, Slow=look)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        health.check("no", lambda: False, kind="liveness")
        assert (await get(server, "/livez"))[0] == 503
        running = asyncio.ensure_future(channel.unary_unary(f"/{SERVICE}/Slow")(b""))
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        while (await get(server, "/readyz"))[1] != "[-]server stopping\nreadiness failed\n":
            await asyncio.sleep(0)
        seen = [await get(server, path) for path in ("/livez", "/startupz")]
        may_end.set()
        await running
        await stopping
    assert seen == [(200, "ok"), (200, "ok")]


def test_a_name_that_is_taken_is_refused() -> None:
    health.check("index", lambda: True)
    health.check("index", lambda: True, kind="liveness")
    for name in ("index", "server", "switch"):
        with pytest.raises(OptionError, match=rf"health.check\('{name}'\): readiness has a part of this name already"):
            health.check(name, lambda: True)


async def test_a_name_of_the_servers_own_is_refused() -> None:
    async with a_server():
        health.check("index", lambda: True)
        for name in ("index", "server", "switch"):
            with pytest.raises(OptionError, match="readiness has a part of this name already; give it another"):
                health.check(name, lambda: True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"kind": "ready"}, r"health.check\(kind='ready'\): takes 'startup', 'liveness', 'readiness'"),
        ({"kind": None}, r"health.check\(kind=None\)"),
        ({"timeout": 0}, r"health.check\(timeout=0\): takes seconds"),
        ({"every": 0}, r"health.check\(every=0\): takes seconds"),
        ({"name": ""}, r"health.check\(name=''\)"),
        ({"function": None}, r"health.check\('a'\): takes a function without arguments, not None"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"name": "a", "function": lambda: True, **arguments}
    with pytest.raises(OptionError, match=says):
        health.check(given.pop("name"), given.pop("function"), **given)


def test_switches_and_services_are_those_of_a_running_server() -> None:
    for use in (
        lambda: health.open("readiness"),
        lambda: health.close("readiness"),
        lambda: health.set_serving("a.B", False),
    ):
        with pytest.raises(NotRunning, match=r"hrpc\.health"):
            use()


async def test_readiness_tells_of_the_services_that_are_called_and_does_not_stand_on_them() -> None:
    listed = hrpc.with_static_services({"users": ["127.0.0.1:1"], "stock": []})
    async with a_server(listed, hrpc.with_upstreams("users", "stock")) as server:
        status, answer = await get(server, "/healthx/readiness")
    assert status == 200
    assert answer["parts"]["upstream users"] == "ok"
    assert answer["parts"]["upstream stock"] == "no instance passes its checks"
