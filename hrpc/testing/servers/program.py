"""A server as a program of this machine, in a temporary folder."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hrpc.testing.servers.errors import ServerFailed
from hrpc.testing.servers.process import Process

_LOG_LINES = 30
# Debian keeps daemons in sbin, which is not in every user's PATH; scripts/install-servers unpacks Consul to .cache.
_CLONE = Path(__file__).parents[3]
_FOLDERS = (Path("/usr/sbin"), Path("/usr/local/sbin"), _CLONE / ".cache/consul/usr/bin")


def find_program(*names: str) -> str | None:
    """The path of the first of these programs that is there: in PATH, in sbin, or in the clone's ``.cache``."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, _FOLDERS)])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


@functools.cache
def version(path: str, argument: str = "--version") -> str:
    """The version that a program says it has, such as ``10.11.19-MariaDB``; empty when it says none."""
    done = subprocess.run([path, argument], capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout)
    return found[0] if found else ""


class Program:
    """A server's program, with `folder` for its files and `data` for what outlives it; `fill` makes the first data."""

    def __init__(
        self, source: str, command: Sequence[str], folder: Path, data: Path, fill: Callable[[Path], None] | None = None
    ) -> None:
        self.source = source
        self._data = data
        self._fill = fill
        self._output = folder / "output.log"
        self._process = Process(command, self._output, folder)

    def start(self) -> None:
        """Starts it, with new data if the folder for them is empty."""
        if not self.running() and self._fill and not any(self._data.iterdir()):
            self._fill(self._data)
        self._process.start()

    def stop(self) -> None:
        """SIGTERM, and waits for the end."""
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self._process.kill()

    def wipe(self) -> None:
        """Empties the data folder; raises `ServerFailed` while the program runs."""
        if self.running():
            raise ServerFailed(f"{self.source} runs: stop or kill it before its data are wiped")
        for entry in self._data.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def running(self) -> bool:
        """Whether the program runs."""
        return self._process.running()

    def log(self) -> str:
        """The last lines of its output."""
        lines = self._output.read_text(errors="replace").splitlines() if self._output.exists() else []
        return "\n".join(lines[-_LOG_LINES:])


@contextmanager
def program(
    path: str,
    command: Callable[[Path, Path], Sequence[str]],
    *,
    data: Path | None = None,
    fill: Callable[[Path], None] | None = None,
    version_argument: str | None = "--version",
) -> Iterator[Program]:
    """The program at `path` in a temporary folder, not started; killed, and the folder removed, at the end.

    `command` makes the command line from the folder and the folder for data, which is `data` when given and then stays
    after the end. `fill` makes the first data in an empty folder. A program that cannot be asked for its version has
    no `version_argument`.
    """
    told = version(path, version_argument) if version_argument else ""
    source = f"program {path} {told}".rstrip()
    with tempfile.TemporaryDirectory(prefix=f"hrpc-{Path(path).name}-") as name:
        folder = Path(name)
        kept = data if data is not None else folder / "data"
        kept.mkdir(parents=True, exist_ok=True)
        backend = Program(source, command(folder, kept), folder, kept, fill)
        try:
            yield backend
        finally:
            backend.kill()
