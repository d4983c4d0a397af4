"""Addresses that probes come from."""

from __future__ import annotations

import socket

import pytest


@pytest.fixture
def elsewhere() -> str:
    """An address of this machine that is not its loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but the loopback one")
        return str(sock.getsockname()[0])
