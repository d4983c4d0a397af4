"""What the log says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The lines of the log, level and message."""
    lines: list[str] = []
    number = logger.add(lambda line: lines.append(str(line).rstrip("\n")), format="{level} {message}")
    yield lines
    logger.remove(number)
