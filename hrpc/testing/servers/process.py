"""A program that ends with us, however we end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hrpc.testing.servers.errors import ServerFailed

STOP_LIMIT = 30.0
"""Seconds that a program gets between SIGTERM and SIGKILL."""

# `read` returns when the other end of the pipe closes, which the kernel does even for a process that was killed. The
# pause lets the group die before its folder goes.
_WATCH = 'read -r _; kill -s KILL -- "-$1"; sleep 0.2; rm -rf -- "$2"'


class Process:
    """A program in a process group of its own, with its output in a file.

    Should this process end without `stop` or `kill`, a watcher ends the group and removes `folder`.
    """

    # Not a `preexec_fn` with PR_SET_PDEATHSIG: Python code between fork and exec can hang a process in which gRPC's
    # threads run, and that signal comes when the *thread* ends that started the program.

    def __init__(self, command: Sequence[str], output: Path, folder: Path) -> None:
        self._command = list(command)
        self._output = output
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    def running(self) -> bool:
        """Whether the program runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the program; raises `ServerFailed` when it runs already."""
        if self.running():
            raise ServerFailed(f"{self._command[0]} runs already: stop or kill it before it is started again")
        self._reap()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "watch", str(self._process.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def stop(self) -> None:
        """SIGTERM, and waits for the end; after 30 s SIGKILL and `ServerFailed`."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"{self._command[0]} did not stop within {STOP_LIMIT:g} s and was killed") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group, and waits for the program's end."""
        if self.running():
            assert self._process
            os.killpg(self._process.pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> None:
        if self._process:
            self._process.wait()
            self._process = None
        if self._watcher:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None
