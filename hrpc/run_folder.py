"""Where the services that a user runs are reached on this machine: a private folder, with a Unix socket of each.

The folder is ``$HRPC_RUN_DIR``, else ``$XDG_RUNTIME_DIR/hrpc``, else ``hrpc-<user id>`` in ``$TMPDIR`` or ``/tmp``;
``HRPC_RUN_DIR=none`` is for a service that is not to be reached so. A socket is ``<server name>-<process id>.sock``.
Whoever reaches a socket may stop the service, so the folder is only used when it is a real folder, this user's own, and
closed to everybody else: in ``/tmp`` anybody may have made it before.

Commands read this as well, and are to be quick: it imports only what Python has loaded already, or nearly so.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

LONGEST = 100
"""Bytes in the path of a Unix socket: Linux takes 107, macOS 103."""
MODE = 0o700
_FILE = re.compile(r"(?P<name>.+)-(?P<pid>[0-9]+)(\.[0-9]+)?\.sock", re.ASCII)


class RunFolderError(OSError):
    """The folder cannot be used; the message says why, and what to do."""


class Socket(NamedTuple):
    """One socket in the folder: `name` is the server's."""

    name: str
    pid: int
    file: str


class RunFolder:
    """The folder, held open: what is done in it is done in the one that was checked."""

    def __init__(self, path: str, descriptor: int) -> None:
        """For `opened`."""
        self.path = path
        self._descriptor = descriptor

    def sockets(self) -> list[Socket]:
        """All that are there, also those of processes that are gone."""
        matches = [_FILE.fullmatch(file) for file in sorted(os.listdir(self._descriptor))]
        return [Socket(match["name"], int(match["pid"]), match.string) for match in matches if match]

    def connect(self, file: str, timeout: float) -> socket.socket:
        """A connection to whoever listens. Raises OSError: ConnectionRefusedError when nobody does."""
        client = socket.socket(socket.AF_UNIX)
        try:
            client.settimeout(timeout)
            client.connect(self._through_descriptor(file))
        except BaseException:
            client.close()
            raise
        return client

    def listen(self, name: str) -> tuple[socket.socket, str]:
        """A socket of this process that listens, and the name of its file. Raises OSError."""
        for number in range(100):  # one process may run several servers of one name, each in a thread of its own
            file = f"{name}-{os.getpid()}{f'.{number}' if number else ''}.sock"
            if not self._is_answered(file):
                self.remove(file)
                return self._listening(file), file
        raise RunFolderError(errno.EEXIST, f"{self.path}: this process has a hundred sockets for {name!r} already")

    def open(self, file: str) -> int:
        """A descriptor of a file to read and to write, which is made when it is not there. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(file, flags, 0o600, dir_fd=self._descriptor)

    def remove(self, file: str) -> None:
        """Removes a file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(file, dir_fd=self._descriptor)

    def sweep(self) -> None:
        """Removes what processes have left that are gone."""
        for entry in self.sockets():
            # The process may live where its number is another one, as in a container that shares the folder: so it
            # is asked as well.
            if not lives(entry.pid) and not self._is_answered(entry.file):
                self.remove(entry.file)

    def _listening(self, file: str) -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        try:
            path = os.path.join(self.path, file)
            # By its path, so that those who clean temporary folders see that it is in use.
            server.bind(path if len(os.fsencode(path)) <= LONGEST else self._through_descriptor(file))
            os.chmod(file, 0o600, dir_fd=self._descriptor)  # and so it is in the folder that was checked
            server.listen()
        except BaseException:
            server.close()
            raise
        return server

    def _is_answered(self, file: str) -> bool:
        try:
            self.connect(file, timeout=0.1).close()
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True

    def _through_descriptor(self, file: str) -> str:
        """The path of a file by way of the open folder: it is never too long, nor leads to another folder."""
        opened = f"/proc/self/fd/{self._descriptor}"
        path = os.path.join(opened if os.path.exists(opened) else self.path, file)
        if len(os.fsencode(path)) > LONGEST:
            raise RunFolderError(
                errno.ENAMETOOLONG, f"{path} is too long for the path of a socket: name a shorter one in HRPC_RUN_DIR"
            )
        return path


def candidates(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Where the folder may be, best first; none at all with ``HRPC_RUN_DIR=none``. Raises `RunFolderError`."""
    named = environ.get("HRPC_RUN_DIR")
    if named == "none":
        return []
    if named:
        if not os.path.isabs(named):
            raise RunFolderError(errno.EINVAL, f"HRPC_RUN_DIR={named}: takes an absolute path, or none")
        return [os.path.normpath(named)]
    temporary = os.path.join(environ.get("TMPDIR") or "/tmp", f"hrpc-{os.geteuid()}")
    session = environ.get("XDG_RUNTIME_DIR")
    return [os.path.join(session, "hrpc"), temporary] if session and os.path.isabs(session) else [temporary]


@contextmanager
def opened(path: str, *, make: bool = False) -> Iterator[RunFolder]:
    """Opens the folder at `path`, and makes it when it is to. Raises `RunFolderError` unless it is private."""
    try:
        if make:
            os.makedirs(path, MODE, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        reason = "it is no folder, or a symbolic link" if error.errno in (errno.ENOTDIR, errno.ELOOP) else None
        raise _unusable(path, reason or error.strerror or str(error), error.errno) from error
    try:
        _check(path, os.fstat(descriptor))
        yield RunFolder(path, descriptor)
    finally:
        os.close(descriptor)


def _check(path: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise _unusable(path, f"it belongs to user {found.st_uid}, and not to user {os.geteuid()}", errno.EPERM)
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise _unusable(path, f"others may enter it (mode {stat.S_IMODE(found.st_mode):o}): chmod 700 it", errno.EPERM)


def _unusable(path: str, reason: str, number: int | None) -> RunFolderError:
    return RunFolderError(number, f"{path}: {reason}; HRPC_RUN_DIR names another folder")


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
