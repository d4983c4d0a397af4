"""When the tester is there, and where: production, drains, workers, certificates, engines."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import ssl
import tomllib
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.client_exceptions import ClientConnectionError, ClientSSLError
from tester_service import PATH, Started, posted, shop

import hrpc
import hrpc_tester
from hrpc import Environment, listener
from hrpc.errors import ManagerError, NotRunning, OptionError, PortTaken
from tests.authority import Authority
from tests.eventually import eventually
from tests.process import running


async def test_it_is_refused_in_production_before_anything_is_served(started: Started) -> None:
    with pytest.raises(ManagerError, match="every method, so it is not for production") as caught:
        async with started(hrpc.with_environment(Environment.PRODUCTION)):
            pass
    assert caught.value.setup is not None
    (error,) = caught.value.setup.errors
    assert isinstance(error.error, hrpc_tester.TesterRefused)


def test_a_job_in_production_has_no_tester_and_none_is_refused() -> None:
    server, _ = shop(hrpc_tester.with_tester(), hrpc.with_environment(Environment.PRODUCTION))
    assert server.run(lambda: 42) == 42


async def test_it_is_there_in_production_for_those_who_say_so(
    started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    async with started(hrpc.with_environment(Environment.PRODUCTION), production=True) as (_, session):
        assert (await posted(session, "Place"))[0] == 200
    assert "serves in production, because hrpc_tester.with_tester(production=True) says so" in capsys.readouterr().out


def test_without_settings_it_is_one_on_8080_of_this_machine() -> None:
    (tester,) = hrpc_tester.with_tester().added["plugins"]
    assert (tester._wanted, tester._host) == (8080, "127.0.0.1")
    with pytest.raises(NotRunning):
        _ = tester.port


def test_the_name_of_the_package_leads_to_it() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["hrpc.plugins"]["hrpc-tester"].partition(":")
    assert getattr(importlib.import_module(module), name)().name == project["name"] == "hrpc-tester"


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"host": "localhost"},
        {"host": 3},
        {"production": 1},
        {"hosts": "shop.test"},
        {"hosts": ["shop.test:80"]},
        {"max_body": 0},
        {"max_body": True},
    ],
)
def test_a_wrong_setting_is_refused_where_it_is_made(wrong: Any) -> None:
    with pytest.raises(OptionError, match=r"hrpc_tester\.with_tester"):
        hrpc_tester.with_tester(**wrong)


async def test_services_of_the_user_live_beside_it(started: Started) -> None:
    class Own:
        id = "own"
        ran = asyncio.Event()

        async def setup(self) -> None:
            pass

        async def run(self) -> None:
            self.ran.set()
            await asyncio.Event().wait()

    own = Own()
    async with started(hrpc.with_services(own)) as (_, session):
        await own.ran.wait()
        assert (await posted(session, "Place"))[0] == 200


async def test_a_port_that_is_taken_fails_the_start_and_names_the_option() -> None:
    with listener.bind("a test", "127.0.0.1", 0, "") as taken:
        taken.listen()
        server, _ = shop(hrpc_tester.with_tester(taken.getsockname()[1]))
        with pytest.raises(ManagerError) as caught:
            async with server:
                pass
    (error,) = caught.value.of("hrpc-tester")
    assert isinstance(error.error, PortTaken)
    assert "hrpc_tester.with_tester(port=…)" in str(error.error)


async def test_a_request_that_runs_is_answered_when_the_server_drains_and_no_other_is_taken() -> None:
    tester = hrpc_tester.Tester(0)
    server, servicer = shop(hrpc.with_plugins(tester))
    async with aiohttp.ClientSession() as session:
        async with server:
            url = f"http://127.0.0.1:{tester.port}{PATH}"
            headers = {"Content-Type": "application/json"}
            asking = asyncio.create_task(session.post(f"{url}/Hold", json={"value": 5}, headers=headers))
            await servicer.entered.wait()
            stopping = asyncio.create_task(server.stop())
            await _refused(session, f"{url}/Place")
            assert not stopping.done()
            servicer.let_go.set()
            async with await asking as response:
                assert (response.status, await response.json()) == (200, {"value": 5})
            await stopping


async def _refused(session: aiohttp.ClientSession, url: str) -> None:
    """Returns when nobody takes requests there any more."""
    async with asyncio.timeout(30):
        while True:
            try:
                async with session.post(url, json={}) as response:
                    await response.read()
            except ClientConnectionError:
                return
            await asyncio.sleep(0)


async def test_a_stream_that_runs_ends_with_the_grace_of_the_server() -> None:
    tester = hrpc_tester.Tester(0)
    server, _ = shop(hrpc.with_plugins(tester), hrpc.with_graceful_stop(grace=0.1))
    async with aiohttp.ClientSession() as session:
        async with server:
            body = {"to": 2, "failWith": "wait"}
            async with session.post(f"http://127.0.0.1:{tester.port}{PATH}/Follow", json=body) as response:
                await response.content.readline()
                stopping = asyncio.create_task(server.stop())
                rest = await response.content.read()
                assert b'"error"' in rest
            await stopping


async def test_it_listens_again_in_the_next_life() -> None:
    tester = hrpc_tester.Tester(0)
    server, _ = shop(hrpc.with_plugins(tester))
    for _ in range(2):
        async with server, aiohttp.ClientSession(f"http://127.0.0.1:{tester.port}") as session:
            assert (await posted(session, "Place"))[0] == 200


async def test_the_native_engine_is_called_by_its_port(started: Started) -> None:
    pytest.importorskip("pygrpc_native")
    async with started(hrpc.with_engine("native", allow_unbounded_receive=True)) as (_, session):
        assert (await posted(session, "Place", {"id": "7"}))[:2] == (200, {"id": "7"})
        assert (await posted(session, "Fail"))[0] == 404
        async with session.post(f"{PATH}/Follow", json={"from": 1, "to": 2}) as response:
            assert b'{"result": {"value": 1}}' in await response.read()


@pytest.mark.parametrize("mutual", [False, True])
async def test_on_this_machine_it_is_plain_whatever_certificates_the_server_wants(
    started: Started, tmp_path: Path, mutual: bool
) -> None:
    authority = Authority(tmp_path)
    public, private = authority.write(tmp_path / "server", "shop")
    certificates = hrpc.with_server_certs(str(public), str(private), str(authority.path) if mutual else None)
    async with started(certificates) as (servicer, session):
        assert (await posted(session, "Tell"))[0] == 200
    assert servicer.context is not None
    assert servicer.context.client_ip == "127.0.0.1"


async def test_elsewhere_it_has_the_certificates_of_the_server_and_wants_those_of_clients(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    public, private = authority.write(tmp_path / "server", "shop")
    tester = hrpc_tester.Tester(0, host="0.0.0.0")
    server, _ = shop(hrpc.with_plugins(tester), hrpc.with_server_certs(str(public), str(private), str(authority.path)))
    trusting = ssl.create_default_context(cafile=str(authority.path))
    known = ssl.create_default_context(cafile=str(authority.path))
    known.load_cert_chain(*authority.write(tmp_path / "client", "ada"))
    async with server, aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{tester.port}{PATH}/Place"
        async with session.post(url, json={"id": "7"}, ssl=known) as response:
            assert await response.json() == {"id": "7"}
        with pytest.raises((ClientSSLError, ClientConnectionError)):
            async with session.post(url, json={}, ssl=trusting):
                pass
        before = await _certificate(tester.port, known)
        authority.write(tmp_path / "server", "shop")
        assert await _certificate(tester.port, known) != before


async def _certificate(port: int, context: ssl.SSLContext) -> Any:
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.close()
    return found


async def test_with_workers_each_of_them_answers_on_the_one_port(tmp_path: Path, free_port: int) -> None:
    path = tmp_path / "service.py"
    path.write_text(
        "import hrpc, hrpc_tester\n"
        "from tester_service import shop\n"
        f"server, _ = shop(hrpc_tester.with_tester({free_port}), hrpc.with_workers(2))\n"
        "server.serve()\n"
    )
    plugin = Path(__file__).parents[1]
    environ = {"PYTHONPATH": os.pathsep.join(map(str, (Path.cwd(), plugin, plugin / "tests")))}
    async with running(path, environ) as process, aiohttp.ClientSession() as session:

        async def both_listen() -> bool:
            return process.output.count("methods can be tried on") == 2

        await eventually(both_listen, 60)
        for _ in range(20):
            async with session.post(
                f"http://127.0.0.1:{free_port}{PATH}/Place", json={"id": "7"}, headers={"Connection": "close"}
            ) as response:
                assert await response.json() == {"id": "7"}
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
