"""How long fault tests take, what they have measured, and the agents that they hurt."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hrpc.testing import DevConsul
from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer, consul_server
from tests.faults.figures import Figures
from tests.faults.whole import Whole

_figures = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_figures] = Figures()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash[_figures].lines:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of these tests is advertised beyond this machine."""
    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")
    for name in ("CONFIGS_ADDR", "CONFIGS_TOKEN", "CONFIGS_DATACENTER", "CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Keeps what this test has measured: ``figures(lag_p99_ms=12.5)``."""
    kept = request.config.stash[_figures]

    def add(**measured: float | str) -> None:
        kept.add(request.node.name.removeprefix("test_"), **measured)

    return add


class Agent:
    """A Consul agent that a test may end and begin anew without its data."""

    address: str

    async def lose(self) -> None:
        """It is killed, and all that it knew is gone."""
        raise NotImplementedError

    async def begin(self) -> None:
        """It is there again, on the same port, and has a leader."""
        raise NotImplementedError


class RealAgent(Agent):
    """A Consul program."""

    def __init__(self, server: ConsulServer) -> None:
        self.address = server.address
        self._server = server

    async def lose(self) -> None:
        await asyncio.to_thread(self._server.kill)
        self._server.wipe()

    async def begin(self) -> None:
        await asyncio.to_thread(self._server.start)


class EmbeddedAgent(Agent):
    """The agent of ``hrpc run --dev``; it keeps nothing anyway."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._agent = DevConsul(port)
        self._runs = False

    async def lose(self) -> None:
        if self._runs:
            self._runs = False
            await self._agent.__aexit__(None, None, None)

    async def begin(self) -> None:
        await self._agent.__aenter__()
        self._runs = True


@pytest.fixture(params=["consul", "devconsul"])
async def agent(request: pytest.FixtureRequest) -> AsyncIterator[Agent]:
    """Each of both agents, without ACLs."""
    if request.param == "consul":
        launch = request.getfixturevalue("launch")
        yield RealAgent(launch(lambda: consul_server({"limits": {"http_max_conns_per_client": 1000}})))
        return
    embedded = EmbeddedAgent(request.getfixturevalue("free_port"))
    await embedded.begin()
    yield embedded
    with suppress(OSError):
        await embedded.lose()


@pytest.fixture
def seconds() -> float:
    """How long a test that could go on for ever goes on: ``FAULTS_SECONDS``."""
    return float(os.environ.get("FAULTS_SECONDS", "600"))


@pytest.fixture
def rounds() -> int:
    """How often a test repeats what it does: ``FAULTS_ROUNDS``."""
    return int(os.environ.get("FAULTS_ROUNDS", "20"))


@pytest.fixture
def moments() -> int:
    """At how many moments something is done: ``FAULTS_MOMENTS``."""
    return int(os.environ.get("FAULTS_MOMENTS", "200"))


@pytest.fixture
def whole(own_consul: ConsulServer, mariadb: MySQLServer, redis_server: RedisServer) -> Iterator[Whole]:
    """Services with every part that there is."""
    # The paths of Unix sockets are short, and those of pytest's folders long.
    with tempfile.TemporaryDirectory(prefix="whole-") as folder:
        yield Whole(Path(folder), own_consul, mariadb, redis_server)
