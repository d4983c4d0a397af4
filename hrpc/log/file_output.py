"""A file that log lines go to, which somebody else may rename and replace."""

from __future__ import annotations

import os
import sys
import threading

from hrpc.log.output import Output

_MODE = 0o640


class FileOutput(Output):
    """Appends to a file; while that cannot be written to, lines go to another output, and stderr is told so once."""

    def __init__(self, path: str, instead: Output) -> None:
        super().__init__("stdout")
        self._path = path
        self._instead = instead
        self._descriptor = -1
        self._torn = False
        """Whether the last line in the file is not whole."""
        self._problem: str | None = None
        self._lock = threading.Lock()
        self.reopen()

    def reopen(self) -> None:
        """Opens whatever is at the path now, and makes it when nothing is; what was open before is closed."""
        try:
            opened = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, _MODE)
        except OSError as error:
            where = "to stdout" if self._descriptor == -1 else "on to the file that was there before"
            self._tell(error, f"{where}; SIGHUP has it tried again")
            return
        with self._lock:
            before, self._descriptor, self._torn = self._descriptor, opened, False
            if before != -1:
                os.close(before)
            self._problem = None

    def takes(self, size: int) -> bool:
        return True if self._descriptor != -1 else self._instead.takes(size)

    def write(self, data: bytes) -> bool:
        with self._lock:
            if self._descriptor != -1:
                try:
                    self._append(data)
                    self._problem = None
                    return True
                except OSError as error:
                    self._tell(error, "to stdout until it can be written to")
        return self._instead.write(data)

    def close(self) -> None:
        """Closes the file; what comes later goes to the other output."""
        with self._lock:
            if self._descriptor != -1:
                os.close(self._descriptor)
                self._descriptor = -1

    def _append(self, data: bytes) -> None:
        rest = memoryview(b"\n" + data if self._torn else data)
        while rest:
            written = os.write(self._descriptor, rest)
            self._torn = rest[written - 1] != ord("\n")
            rest = rest[written:]

    def _tell(self, error: OSError, where: str) -> None:
        problem = error.strerror or str(error)
        if problem != self._problem and sys.stderr is not None:
            self._problem = problem
            print(f"hrpc.with_log_file: {self._path}: {problem}; lines go {where}", file=sys.stderr, flush=True)
