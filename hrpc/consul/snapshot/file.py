"""The file of a snapshot: written as a whole or not at all, and only believed when nobody else can have written it."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from loguru import logger

from hrpc.consul.snapshot.contents import UnusableSnapshot
from hrpc.errors import OptionError

_UNFINISHED = ".hrpc-unfinished"

LEFT_BEHIND = 3600.0
"""Seconds after which nobody writes any more a file that was never finished."""


def check(path: Path) -> None:
    """Raises `OptionError` when no file can be made there."""
    folder = path.parent
    if not folder.is_dir():
        raise OptionError(f"hrpc.with_snapshot({str(path)!r}): there is no folder {str(folder)!r}: create it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OptionError(
            f"hrpc.with_snapshot({str(path)!r}): this user cannot write in {str(folder)!r}: let it, or choose "
            "another folder"
        )
    if path.is_dir():
        raise OptionError(f"hrpc.with_snapshot({str(path)!r}): takes the path of a file, and this is a folder")


def read(path: Path) -> bytes | None:
    """The bytes of the file, None when there is none. Raises `UnusableSnapshot`."""
    try:
        with path.open("rb") as file:
            _check_owner(path, os.fstat(file.fileno()))
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnusableSnapshot(f"it cannot be read: {error.strerror}") from error


def _check_owner(path: Path, status: os.stat_result) -> None:
    """Who can write it, can say where calls go, and which settings a start takes."""
    if not stat.S_ISREG(status.st_mode):
        raise UnusableSnapshot("it is no regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise UnusableSnapshot(f"it belongs to another user ({status.st_uid}), who could have written anything")
    if status.st_mode & stat.S_IWOTH:
        raise UnusableSnapshot(f"everybody can write it (mode {stat.S_IMODE(status.st_mode):o}): make it 600")
    if status.st_mode & stat.S_IROTH:
        logger.warning(
            "snapshot {}: everybody can read it (mode {:o}); the next one is written with 600",
            path,
            stat.S_IMODE(status.st_mode),
        )


def tidy(path: Path) -> None:
    """Removes what writers have left behind that were killed while they wrote. Raises `OSError`."""
    with os.scandir(path.parent) as found:
        for each in found:
            if each.name.startswith(f".{path.name}.") and each.name.endswith(_UNFINISHED):
                with suppress(FileNotFoundError):
                    if time.time() - each.stat(follow_symlinks=False).st_mtime > LEFT_BEHIND:
                        os.unlink(each.path)


def write(path: Path, data: bytes) -> None:
    """Puts a new file in the place of the old one, readable by its owner only. Raises `OSError`."""
    descriptor, name = tempfile.mkstemp(_UNFINISHED, f".{path.name}.", path.parent)  # with mode 600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    # Else a crash of the machine could undo the renaming.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
