"""Consul for tests: one server agent that is its own cluster."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from hrpc.testing.servers.backend import Backend
from hrpc.testing.servers.container import container, local_images
from hrpc.testing.servers.errors import ServerMissing
from hrpc.testing.servers.ports import reserved_port
from hrpc.testing.servers.program import find_program, program
from hrpc.testing.servers.server import Server

IMAGE = "hashicorp/consul:1.20"

_SETTINGS: dict[str, Any] = {
    "server": True,
    "bootstrap_expect": 1,
    "bind_addr": "127.0.0.1",
    "client_addr": "127.0.0.1",
    "disable_update_check": True,
    "leave_on_terminate": True,
    "performance": {"raft_multiplier": 1, "leave_drain_time": "10ms"},
    "log_level": "warn",
}


class ConsulServer(Server):
    """A running Consul with its HTTP API on `port`."""

    name = "Consul"

    def answers(self) -> bool:
        """Whether it has a leader that serves consistent reads; before that, much of the API answers 500."""
        request = f"http://{self.address}/v1/catalog/services?consistent"
        try:
            with _OPENER.open(request, timeout=1) as answer:
                return bool(answer.status == 200)
        except (OSError, HTTPException):
            return False


# A proxy that the environment names is for other machines.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def consul_server(
    config: Mapping[str, Any] | None = None, data: Path | None = None, *, port: int | None = None
) -> Iterator[ConsulServer]:
    """A Consul that has elected its leader, on a free port of 127.0.0.1; gone after the block.

    `config` is merged over our settings, as a configuration file would be: ``{"acl": {"enabled": True}}``. `data` is a
    data folder to use and to leave behind (programs only). Raises `ServerMissing` or `ServerFailed`.
    """
    with (
        reserved_port(port) as http,
        reserved_port() as serf,
        reserved_port() as rpc,
    ):
        # Each agent needs all its ports for itself; what we do not use is off.
        ports = {"http": http, "serf_lan": serf, "server": rpc, "serf_wan": -1, "dns": -1, "grpc": -1}
        settings = [json.dumps(part) for part in (_SETTINGS | {"ports": ports}, dict(config or {}))]
        with _backend(settings, data) as backend:
            server = ConsulServer(backend, http)
            server.start()
            yield server


def _backend(settings: list[str], data: Path | None) -> AbstractContextManager[Backend]:
    def command(path: str, folder: str) -> list[str]:
        return [path, "agent", "-data-dir", folder, *(part for text in settings for part in ("-hcl", text))]

    if IMAGE in local_images() and data is None:
        return container(IMAGE, command("consul", "/consul/data"), {})
    if path := find_program("consul"):
        return program(path, lambda folder, kept: command(path, str(kept)), data=data, version_argument="version")
    raise ServerMissing("Consul", IMAGE, "consul")
