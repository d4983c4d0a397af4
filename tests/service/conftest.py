"""Nothing of these tests is advertised beyond this machine, and no stop waits for callers that do not exist."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hrpc.consul import Client, connect
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")
    for name in ("CONFIGS_ADDR", "CONFIGS_TOKEN", "CONFIGS_DATACENTER", "CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def registry(consul: ConsulServer) -> AsyncIterator[Client]:
    async with connect(Consul(address=consul.address)) as client:
        yield client
