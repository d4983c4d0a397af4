"""A Unix socket by which a process reaches its own server."""

from __future__ import annotations

import os
import shutil
import tempfile

LONGEST = 100
"""Bytes in the path of a Unix socket: Linux takes 107, macOS 103."""


class OwnSocket:
    """The path of a socket, in a folder of its own, which only this user may enter."""

    def __init__(self) -> None:
        """Makes the folder. Raises OSError."""
        self._folder = tempfile.mkdtemp(prefix="hrpc-")
        self.path = os.path.join(self._folder, "own.sock")
        if len(os.fsencode(self.path)) > LONGEST:
            self.remove()
            raise OSError(f"{self.path} is too long for the path of a socket")

    def remove(self) -> None:
        """Removes the folder, with what is in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
