"""A Consul server, and a client agent apart from it, with a line between the two that can be cut."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any, Self

from hrpc.testing.servers import ConsulServer, ServerMissing, reserved_port
from hrpc.testing.servers.consul import IMAGE
from hrpc.testing.servers.program import find_program, program
from tests.proxy import Proxy, proxied

_COMMON: dict[str, Any] = {
    "disable_update_check": True,
    "leave_on_terminate": False,
    "log_level": "warn",
    # What agents of one machine must not share, and what makes one that was lost find the other again soon.
    "retry_interval": "1s",
    "performance": {"raft_multiplier": 1},
    "gossip_lan": {"probe_interval": "1s", "probe_timeout": "500ms", "suspicion_mult": 2},
}


class Cluster:
    """`agent` is what services talk to; `server` is what `agent` talks to."""

    def __init__(self, server: ConsulServer, agent: ConsulServer) -> None:
        self.server = server
        self.agent = agent

    async def cut(self) -> None:
        """Nothing gets from one to the other, and nobody is told."""
        raise NotImplementedError

    async def heal(self) -> None:
        """The line is good again."""
        raise NotImplementedError


class _Namespaced(Cluster):
    link = ""

    async def cut(self) -> None:
        _ip("link", "set", self.link, "down")

    async def heal(self) -> None:
        _ip("link", "set", self.link, "up")


class _Proxied(Cluster):
    lines: Lines

    async def cut(self) -> None:
        self.lines.freeze()

    async def heal(self) -> None:
        await asyncio.to_thread(self.lines.heal)


class Lines:
    """Proxies in an event loop of their own: they pass on also while a test blocks its loop."""

    def __init__(self, lines: Sequence[tuple[str, str, int]]) -> None:
        self._lines = lines
        self._proxies: list[Proxy] = []
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    def freeze(self) -> None:
        """Nothing gets through."""
        for proxy in self._proxies:
            self._loop.call_soon_threadsafe(proxy.freeze)

    def heal(self) -> None:
        """New connections get through; those of before have lost too much, and are cut."""
        for proxy in self._proxies:
            for step in (proxy.cut(), proxy.heal()):
                asyncio.run_coroutine_threadsafe(step, self._loop).result(10)

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            for to, own_host, own_port in self._lines:
                self._proxies.append(await stack.enter_async_context(proxied(to, own_host, own_port)))
            self._listening.set()
            await self._ended.wait()


@asynccontextmanager
async def cluster_in_namespace() -> AsyncIterator[Cluster]:
    """The server is in a network namespace of its own. Raises `ServerMissing` where there can be none."""
    with ExitStack() as stack:
        namespace, link, ours, theirs = stack.enter_context(_namespace())
        ports = [stack.enter_context(reserved_port()) for _ in range(5)]
        prefix = ["ip", "netns", "exec", namespace]
        server_config = {"bind_addr": theirs, "client_addr": theirs, "retry_join": [f"{ours}:{ports[4]}"]}
        server = ConsulServer(stack.enter_context(_agent(_server(ports[:3]) | server_config, prefix)), ports[0])
        server.host = theirs
        agent_config = {"bind_addr": ours, "client_addr": "127.0.0.1", "retry_join": [f"{theirs}:{ports[1]}"]}
        agent = ConsulServer(stack.enter_context(_agent(_client(ports[3], ports[4]) | agent_config)), ports[3])
        cluster = _Namespaced(server, agent)
        cluster.link = link
        await _started(cluster)
        yield cluster


@asynccontextmanager
async def cluster_behind_proxies() -> AsyncIterator[Cluster]:
    """The server tells an address at which only two proxies listen, one for its RPC and one for its gossip."""
    with ExitStack() as stack:
        ports = [stack.enter_context(reserved_port()) for _ in range(5)]
        bound, told = "127.0.0.1", "127.0.0.2"
        server_config = {
            "bind_addr": bound,
            "advertise_addr": told,
            "client_addr": bound,
            "retry_join": [f"{bound}:{ports[4]}"],
        }
        server = ConsulServer(stack.enter_context(_agent(_server(ports[:3]) | server_config)), ports[0])
        agent_config = {"bind_addr": bound, "client_addr": bound, "retry_join": [f"{told}:{ports[1]}"]}
        agent = ConsulServer(stack.enter_context(_agent(_client(ports[3], ports[4]) | agent_config)), ports[3])
        cluster = _Proxied(server, agent)
        cluster.lines = stack.enter_context(Lines([(f"{bound}:{port}", told, port) for port in ports[1:3]]))
        await _started(cluster)
        yield cluster


async def _started(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.server.start)
    await asyncio.to_thread(cluster.agent.start)


def _server(ports: Sequence[int]) -> dict[str, Any]:
    http, lan, rpc = ports
    return _COMMON | {
        "server": True,
        "bootstrap_expect": 1,
        "node_name": "server",
        "ports": {"http": http, "serf_lan": lan, "server": rpc, "serf_wan": -1, "dns": -1, "grpc": -1},
    }


def _client(http: int, lan: int) -> dict[str, Any]:
    return _COMMON | {"node_name": "client", "ports": {"http": http, "serf_lan": lan, "dns": -1, "grpc": -1}}


def _agent(config: Mapping[str, Any], prefix: Sequence[str] = ()) -> AbstractContextManager[Any]:
    path = find_program("consul")
    if path is None:
        raise ServerMissing("Consul", IMAGE, "consul")
    settings = json.dumps(config)
    return program(
        path,
        lambda _, data: [*prefix, path, "agent", "-data-dir", str(data), "-hcl", settings],
        version_argument="version",
    )


@contextmanager
def _namespace() -> Iterator[tuple[str, str, str, str]]:
    """A namespace, the link to it, and the addresses at both ends of it."""
    if os.geteuid() != 0 or find_program("ip") is None:
        raise ServerMissing("a network namespace, which takes root and iproute2", "-", "ip")
    number = secrets.randbelow(2**14)
    namespace, link, inner = f"hrpc-{number}", f"hrpc-{number}", f"hrpc-{number}i"
    # Link-local (RFC 3927): no network that this machine is in routes them.
    ours, theirs = (f"169.254.{number // 64}.{number % 64 * 4 + end}" for end in (1, 2))
    try:
        _ip("netns", "add", namespace)
        _ip("link", "add", link, "type", "veth", "peer", "name", inner, "netns", namespace)
        _ip("addr", "add", f"{ours}/30", "dev", link)
        _ip("link", "set", link, "up")
        for command in (
            ("addr", "add", f"{theirs}/30", "dev", inner),
            ("link", "set", inner, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", namespace, *command)
        yield namespace, link, ours, theirs
    except subprocess.CalledProcessError as error:
        raise ServerMissing(f"a network namespace: {error.stderr.strip()}", "-", "ip") from error
    finally:
        subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True, timeout=10)
