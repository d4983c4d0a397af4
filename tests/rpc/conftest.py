"""What tests of calls may ask for."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["grpcio", "native"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each engine in turn."""
    monkeypatch.setenv("HRPC_ENGINE", request.param)
