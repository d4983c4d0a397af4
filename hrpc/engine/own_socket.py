"""A Unix socket by which a process reaches its own server."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile

LONGEST = 100
"""Bytes in the path of a Unix socket: Linux takes 107, macOS 103."""


def folder() -> str:
    """Makes a folder for sockets, which only this user may enter; gives its path. Raises OSError."""
    return tempfile.mkdtemp(prefix=f"hrpc-{os.getpid()}-")


def remove_left_by(process: int) -> None:
    """Removes the folders of a process that was killed and could not do it."""
    for path in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), f"hrpc-{process}-*")):
        shutil.rmtree(path, ignore_errors=True)


class OwnSocket:
    """The path of a socket, in a folder of its own, which only this user may enter."""

    def __init__(self) -> None:
        """Makes the folder. Raises OSError."""
        self._folder = folder()
        self.path = os.path.join(self._folder, "own.sock")
        if len(os.fsencode(self.path)) > LONGEST:
            self.remove()
            raise OSError(f"{self.path} is too long for the path of a socket")

    def remove(self) -> None:
        """Removes the folder, with what is in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
