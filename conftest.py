"""The servers that tests share, the servers that tests may kill, and what the run says about them."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from loguru import logger

from hrpc import _runtime
from hrpc.testing.servers import (
    ConsulServer,
    MySQLServer,
    RabbitMQServer,
    RedisServer,
    Server,
    ServerMissing,
    consul_server,
    mysql_server,
    rabbitmq_server,
    redis_server,
    reserved_port,
)

S = TypeVar("S", bound=Server)

_ran = pytest.StashKey[set[str]]()

# How long a busy machine takes says nothing about the code; in CI, the same commit gives the same result.
settings.register_profile(
    "hrpc", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("hrpc")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts jobs in the background so, and the processes of the tests would inherit it: deaf to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            # As nohup and such a shell have it. A handler that does nothing is the same here, and is not inherited.
            signal.signal(number, lambda *_: None)
    config.stash[_ran] = set()


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Where tests run in several processes, only the one that shows nothing itself knows its servers.
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["servers"] = sorted(session.config.stash[_ran])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[_ran].update(getattr(node, "workeroutput", {}).get("servers", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ran = config.stash[_ran]
    if ran:
        terminalreporter.section("servers")
        terminalreporter.write_line("\n".join(sorted(ran)))


class Launch:
    """Starts servers that end with the fixture; where one is missing, skips, or fails in CI."""

    def __init__(self, stack: ExitStack, config: pytest.Config) -> None:
        self._stack = stack
        self._config = config

    def __call__(self, make: Callable[[], AbstractContextManager[S]]) -> S:
        try:
            server = self._stack.enter_context(make())
        except ServerMissing as missing:
            if os.environ.get("CI"):
                pytest.fail(f"CI must have every server: {missing}", pytrace=False)
            pytest.skip(str(missing))
        self._config.stash[_ran].add(f"{server.name}: {server.source}")
        return server

    def end(self) -> None:
        """Ends them now."""
        self._stack.close()


@pytest.fixture(scope="session")
def _shared(pytestconfig: pytest.Config) -> Iterator[Launch]:
    with ExitStack() as stack:
        yield Launch(stack, pytestconfig)


@pytest.fixture(autouse=True)
def hooks_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers outside of a server is there for no other test."""
    monkeypatch.setattr(_runtime, "early_exit_hooks", [])
    monkeypatch.setattr(_runtime, "early_restart_hooks", [])
    monkeypatch.setattr(_runtime, "early_metrics", {})
    monkeypatch.setattr(_runtime, "early_config_watches", [])
    monkeypatch.setattr(_runtime, "early_health_checks", [])


@pytest.fixture(scope="session")
def _run_folder() -> Iterator[str]:
    with TemporaryDirectory(prefix="hrpc-run-") as folder:
        yield folder


@pytest.fixture(autouse=True)
def run_folder_of_this_run(_run_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of tests are not found by the commands of whoever works on this machine, nor by another run's."""
    monkeypatch.setenv("HRPC_RUN_DIR", _run_folder)


@pytest.fixture
def launch(pytestconfig: pytest.Config) -> Iterator[Launch]:
    """Starts further servers for one test: ``launch(lambda: consul_server({"acl": …}))``."""
    with ExitStack() as stack:
        yield Launch(stack, pytestconfig)


@pytest.fixture(scope="session")
def consul(_shared: Launch) -> ConsulServer:
    """The Consul of the whole run: use names of your own, and leave it running."""
    return _shared(consul_server)


@pytest.fixture(scope="session")
def mariadb(_shared: Launch) -> MySQLServer:
    """The MySQL (or MariaDB) of the whole run: use tables of your own, and leave it running."""
    return _shared(mysql_server)


@pytest.fixture(scope="session", name="redis_server")
def shared_redis(_shared: Launch) -> RedisServer:
    """The Redis of the whole run: use keys of your own, and leave it running."""
    return _shared(redis_server)


@pytest.fixture(scope="session", name="rabbitmq_server")
def shared_rabbitmq(_shared: Launch) -> RabbitMQServer:
    """The RabbitMQ of the whole run: use queues of your own, and leave it running (a start takes seconds)."""
    return _shared(rabbitmq_server)


@pytest.fixture
def own_consul(launch: Launch) -> ConsulServer:
    """A fresh Consul for one test, which may kill it."""
    return launch(consul_server)


@pytest.fixture
def own_mariadb(launch: Launch) -> MySQLServer:
    """A fresh MySQL (or MariaDB) for one test, which may kill it."""
    return launch(mysql_server)


@pytest.fixture
def own_redis(launch: Launch) -> RedisServer:
    """A fresh Redis for one test, which may kill it."""
    return launch(redis_server)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged, as ``level: message``."""
    lines: list[str] = []
    number = logger.add(lines.append, format="{level}: {message}")
    yield lines
    logger.remove(number)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which nobody listens, and that no other server of ours gets meanwhile."""
    with reserved_port() as port:
        yield port


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder whose path leaves room for that of a Unix socket, which `tmp_path` may not."""
    with tempfile.TemporaryDirectory(prefix="hrpc-") as folder:
        yield Path(folder)
