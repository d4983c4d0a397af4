"""What tests of queues may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []
    number = logger.add(lines.append, format="{level}: {message}")
    yield lines
    logger.remove(number)
