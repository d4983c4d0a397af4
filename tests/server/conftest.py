"""Nothing of these tests is advertised beyond this machine, and no stop waits for callers that do not exist."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")
    for name in ("CONFIGS_ADDR", "CONFIGS_TOKEN", "CONFIGS_DATACENTER", "CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
