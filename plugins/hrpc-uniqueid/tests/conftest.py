"""What tests of leases may ask for."""

from __future__ import annotations

import pytest

from hrpc_uniqueid import lease


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed five times a second, so that tests need not wait."""
    monkeypatch.setattr(lease, "RENEWALS", 50)
