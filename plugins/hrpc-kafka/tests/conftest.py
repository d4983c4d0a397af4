"""A real broker where an engine for containers has its image, else the mock cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka_broker import Broker, broker, is_there

from hrpc_kafka.testing import MockCluster, mock_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[MockCluster | Broker]:
    """The cluster of the whole run: use topics and groups of your own, and leave it up."""
    with broker() if is_there() else mock_cluster() as running:
        yield running


@pytest.fixture
def own_cluster() -> Iterator[MockCluster]:
    """A mock cluster for one test, which may take it down."""
    with mock_cluster() as running:
        yield running
