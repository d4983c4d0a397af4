"""No variable of the machine says where spans go, and each test has its own."""

from __future__ import annotations

import os

import pytest

from tests.tracing.spans import Spans


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")
    for name in list(os.environ):
        if name.startswith(("OTEL_", "CONFIGS_", "CONSUL_")):
            monkeypatch.delenv(name)
