"""A service as a process of its own, whose output can be waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
END_LIMIT = 30.0
"""Seconds between SIGTERM and SIGKILL, as Kubernetes gives them by default."""


class ProcessFailed(Exception):
    """A process ended too early, or did not say what it should; the message has the end of its output."""


class Process:
    """``python …`` in `folder`, with its output in `log`. Leaving the context ends it with SIGTERM.

    `environ` is added to our own environment, without what that says about some other Consul.
    """

    def __init__(
        self, name: str, arguments: list[str], environ: Mapping[str, str], log: Path, folder: Path = ROOT
    ) -> None:
        self.name = name
        self.lines: list[str] = []
        self._log = log
        self._arrived = threading.Condition()
        self._is_asked = False
        self._has_ended = False
        self._popen = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=_clean_environ() | {"PYTHONUNBUFFERED": "1"} | dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C in the terminal is for the demo, which ends its services in order.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def running(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    def line(self, wanted: Callable[[str], bool], timeout: float = 60.0) -> str:
        """The first line of output that is `wanted`, past or to come. Raises `ProcessFailed`."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._found(wanted) or self._has_ended, timeout)
            found = self._found(wanted)
        if found is None:
            raise ProcessFailed(f"{self.name} did not say what it should:\n{self.tail()}")
        return found

    def ask_to_end(self) -> None:
        """SIGTERM, once: a second one would tell the service to wait for nobody."""
        if not self._is_asked and self.running():
            self._is_asked = True
            self._popen.terminate()

    def end(self) -> int:
        """SIGTERM, if it had none yet; waits, and gives the exit code."""
        self.ask_to_end()
        return self.wait(END_LIMIT)

    def wait(self, limit: float) -> int:
        """Waits for the end and gives the exit code; kills it after `limit` seconds."""
        try:
            self._popen.wait(limit)
        except subprocess.TimeoutExpired:
            self._popen.kill()
        code = self._popen.wait()
        self._reader.join()
        return code

    def tail(self, count: int = 12) -> str:
        """The last lines of its output."""
        return "\n".join(self.lines[-count:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def _found(self, wanted: Callable[[str], bool]) -> str | None:
        return next((line for line in self.lines if wanted(line)), None)

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as output, self._log.open("w") as log:
            for line in output:
                log.write(line)
                log.flush()
                with self._arrived:
                    self.lines.append(line.rstrip("\n"))
                    self._arrived.notify_all()
        with self._arrived:
            self._has_ended = True
            self._arrived.notify_all()


def _clean_environ() -> dict[str, str]:
    # A proxy that the environment names is for other machines; gRPC would go through it even to 127.0.0.1.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CONFIGS_", "CONSUL_", "HRPC_"))}
    return own | {"HRPC_ADVERTISE": "127.0.0.1", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
