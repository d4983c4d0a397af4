"""Examples as processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from examples.demo.process import Process

Start = Callable[..., Process]

ANY_PORTS = {"PORT": "0", "HEALTH_PORT": "0", "METRICS_PORT": "0"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Python on any free ports, and ends it with the test: ``start("-m", "examples.demo", ONCE="1")``."""
    with ExitStack() as stack:

        def start_one(*arguments: str, **environ: str) -> Process:
            log = tmp_path / f"{len(list(tmp_path.iterdir()))}.log"
            return stack.enter_context(Process("python", list(arguments), ANY_PORTS | environ, log))

        yield start_one
