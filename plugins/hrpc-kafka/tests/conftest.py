"""The mock cluster, or a real broker where an engine for containers is there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hrpc_kafka.testing import MockCluster, mock_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[MockCluster]:
    """The cluster of the whole run: use topics and groups of your own, and leave it up."""
    with mock_cluster() as running:
        yield running


@pytest.fixture
def own_cluster() -> Iterator[MockCluster]:
    """A fresh one for one test, which may take it down."""
    with mock_cluster() as running:
        yield running
