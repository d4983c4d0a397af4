"""Every case runs on both engines, the way a user chooses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import pytest

import hrpc
from tests.echo import Gate, add_echo


@dataclass(frozen=True)
class Engine:
    """One of the engines; `server` makes a server on it."""

    kind: Literal["grpcio", "native"]

    @property
    def option(self) -> hrpc.Option:
        """What chooses it."""
        return hrpc.with_engine(self.kind, allow_unbounded_receive=True)

    def server(self, *options: hrpc.Option, gate: Gate | None = None, **methods: Any) -> hrpc.Server:
        """A server with the echo servicer and further unary `methods`, on any free port."""
        local = hrpc.with_listen_port(0, host="127.0.0.1")
        server = hrpc.new_server(hrpc.with_server_name("conformance"), local, self.option, *options)
        add_echo(server, gate, **methods)
        return server


@pytest.fixture(params=["grpcio", "native"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Each engine in turn."""
    monkeypatch.delenv("HRPC_ENGINE", raising=False)
    return Engine(cast(Literal["grpcio", "native"], request.param))
