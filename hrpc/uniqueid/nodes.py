"""The node ids of this machine's processes: no two of a user have the same.

Each holds a lock on one byte of a file in the run folder, the byte that its node id is the number of. The kernel lets
go of it when the process ends, however it ends, and a process that is forked does not inherit it
(https://man7.org/linux/man-pages/man2/fcntl_locking.2.html).
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
import zlib
from collections.abc import Iterable

from loguru import logger

from hrpc import _runtime, run_folder
from hrpc.errors import UniqueIdError
from hrpc.run_folder import RunFolderError
from hrpc.uniqueid.generator import NODES, Generator, Grant

FILE = "uniqueid.nodes"
LOOK = 60.0
"""Seconds after which a process that makes ids looks whether the file is still there, and keeps it from getting old:
what clears temporary folders away deletes it, and others would then lock the same bytes of another file."""


class Nodes:
    """The node ids that this process has taken; it keeps them until its end."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._taken: set[int] = set()
        self._lock = threading.Lock()
        self._generators: dict[int, Generator] = {}

    def of(self, nodes: Iterable[int]) -> Generator | None:
        """The generator of the first of these that no other process of this machine has; None when all are taken.

        Raises `UniqueIdError` without a run folder.
        """
        with self._lock:
            for node in nodes:
                if node in self._generators:
                    return self._generators[node]
                if self._take(node):
                    return self._generators.setdefault(node, OfMachine(node))
        return None

    def has(self, node: int) -> bool:
        """Whether this process still has a node id that it took; when the file was deleted, it is taken in a new one.

        Raises `UniqueIdError` without a run folder.
        """
        with self._lock:
            assert self._file is not None
            os.utime(self._file)
            if os.fstat(self._file).st_nlink == 0:
                deleted, self._file = self._file, _opened()
                os.close(deleted)
                taken, self._taken = self._taken, set()
                for each in taken:
                    self._take(each)
            return node in self._taken

    def derived(self) -> int:
        """A node id that nobody has chosen: from the name of this machine, and the next one that is free here.

        Raises `UniqueIdError` without a run folder, or when all are taken.
        """
        first = zlib.crc32(socket.gethostname().encode())
        with self._lock:
            for node in ((first + more) % NODES for more in range(NODES)):
                if node not in self._generators and self._take(node):
                    return node
        raise UniqueIdError(f"unique ids: all {NODES} node ids are taken by processes of this machine")

    def close(self) -> None:
        """Closes the file in a process that has inherited it, which changes nothing for the one it is from."""
        if self._file is not None:
            os.close(self._file)

    def _take(self, node: int) -> bool:
        if self._file is None:
            self._file = _opened()
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, node)
        except BlockingIOError:
            return False
        self._taken.add(node)
        return True


def _opened() -> int:
    try:
        folders = run_folder.candidates()
    except RunFolderError as error:
        raise _no_folder(error.strerror or str(error)) from error
    reason = "HRPC_RUN_DIR=none"
    for path in folders:
        try:
            with run_folder.opened(path, make=True) as folder:
                return folder.open(FILE)
        except OSError as error:
            reason = error.strerror or str(error)
    raise _no_folder(reason)


def _no_folder(reason: str) -> UniqueIdError:
    return UniqueIdError(
        f"unique ids: processes of this machine cannot agree on their node ids without a run folder ({reason}): name "
        "one in HRPC_RUN_DIR, or lease node ids with the plugin hrpc-uniqueid"
    )


class OfMachine(Generator):
    """That of a node id which this process has taken here."""

    _due = 0.0

    def _granted(self) -> Grant:
        grant = super()._granted()
        if (now := time.monotonic()) < self._due:
            return grant
        if nodes().has(grant.node):
            self._due = now + LOOK
            return grant
        self._grant = None
        self._refused = (
            f"unique ids: node id {grant.node} is another process' since the file {FILE!r} was deleted from the run "
            "folder: restart this one, and name a folder in HRPC_RUN_DIR that nobody clears away"
        )
        self._stop()
        return self._granted()


class Own(OfMachine):
    """That of a process for which nobody has chosen a node id: it has one from its first id on.

    A process that is forked finds another one.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self._untold: int | None = None
        """A node id of which the log is to be told."""

    @property
    def node(self) -> int:
        """As that of `Generator`."""
        try:
            return super().node
        finally:
            self._tell()

    def _turn(self) -> int:
        try:
            return super()._turn()
        finally:
            self._tell()

    def _granted(self) -> Grant:
        if self._grant is None:
            self._untold = nodes().derived()
            self._grant = Grant(self._untold)
        return super()._granted()

    def _tell(self) -> None:
        # Not where it is derived, which is under a lock: what writes the line may itself want an id.
        node, self._untold = self._untold, None
        if node is not None:
            logger.warning(
                "unique ids: node id {}, derived from the name of this machine; no other process of this user has it "
                "here, but another machine may: choose with hrpc.with_node_id, or lease with hrpc-uniqueid",
                node,
            )


def nodes() -> Nodes:
    """Those of this process."""
    ids = _runtime.process_ids
    with ids.lock:
        if ids.nodes is None:
            ids.nodes = Nodes()
        found: Nodes = ids.nodes
        return found


def own() -> Generator:
    """The generator of this process when no server brings one."""
    ids = _runtime.process_ids
    with ids.lock:
        if ids.own is None:
            ids.own = Own()
        found: Own = ids.own
        return found


def _after_fork() -> None:
    # The locks that another thread held at that moment are never released here, and those of the file are not ours.
    ids = _runtime.process_ids
    ids.lock = threading.Lock()
    inherited, ids.nodes = ids.nodes, None
    if inherited is not None:
        inherited.close()


os.register_at_fork(after_in_child=_after_fork)
