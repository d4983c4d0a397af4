"""The command, run in a folder with modules of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from examples.demo.process import Process

LIMIT = 60.0


class Command:
    """``hrpc …`` in a folder of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack

    def module(self, name: str, code: str) -> None:
        """Writes a module into the folder."""
        (self.folder / f"{name}.py").write_text(code)

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "hrpc.cli", *arguments],
            cwd=self.folder,
            env=_environ(environ),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def start(self, *arguments: str, code: str | None = None, **environ: str) -> Process:
        """Starts it; it ends with the test. `code` runs instead of the command line's own entry."""
        entry = ["-m", "hrpc.cli"] if code is None else ["-c", code]
        log = self.folder / f"{len(list(self.folder.iterdir()))}.log"
        process = Process("hrpc", ["-W", "error", *entry, *arguments], environ, log, self.folder)
        return self._stack.enter_context(process)


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CONFIGS_", "CONSUL_"))}
    return own | {"HRPC_ADVERTISE": "127.0.0.1"} | dict(environ)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    with ExitStack() as stack:
        yield Command(tmp_path, stack)


@pytest.fixture
def run_dir(tmp_path: Path) -> str:
    """A folder of this test's own, so that no other service is found."""
    return str(tmp_path / "run")
