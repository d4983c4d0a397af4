"""The sign of life of a job, which has no port: a file with the seconds since 1970, written every 5 s.

It is written while the event loop runs and liveness passes; one that is older than 15 s says that the job hangs. It is
``<server name>-<process id>.heartbeat`` in the folder of `hrpc.run_folder`, and ends with the job.

``hrpc probe`` reads it, and is to be quick: this imports nothing heavy.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from hrpc import run_folder

INTERVAL = 5.0
"""Seconds between two beats."""
STALE = 15.0
"""Seconds after which a beat is no sign of life any more."""
_FILE = re.compile(r"(?P<name>.+)-(?P<pid>[0-9]+)\.heartbeat", re.ASCII)


class Beat(NamedTuple):
    """The heartbeat of one job."""

    name: str
    pid: int
    path: str


def found(folder: str) -> list[Beat]:
    """Those in a folder, also of processes that are gone. Raises OSError."""
    matches = [_FILE.fullmatch(file) for file in sorted(os.listdir(folder))]
    return [Beat(each["name"], int(each["pid"]), os.path.join(folder, each.string)) for each in matches if each]


def is_alive(path: str) -> bool:
    """Whether the job beats; False without the file, or with another one. Raises OSError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            age = time.time() - int(file.read(32))
    except (FileNotFoundError, ValueError):
        return False
    return -STALE < age < STALE  # the clock may have been put back


@asynccontextmanager
async def beating(path: str, passes: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Beats at `path` while the context lasts and `passes`; the file is removed at the end.

    When it cannot be written, the log says so once, and the job goes on.
    """
    import asyncio  # here, as the command has no time for it

    beater = asyncio.create_task(_beat(path, passes), name="hrpc: heartbeat")
    try:
        yield
    finally:
        beater.cancel()
        await asyncio.wait({beater})
        with suppress(OSError):
            os.unlink(path)
        if not beater.cancelled():
            beater.result()


async def _beat(path: str, passes: Callable[[], Awaitable[bool]]) -> None:
    import asyncio

    from loguru import logger

    is_told = False
    while True:
        if await passes():
            try:
                _write(path)
                is_told = False
            except OSError as error:
                if not is_told:
                    logger.warning("heartbeat: cannot write {}: {}; `hrpc probe` fails", path, error.strerror)
                is_told = True
        await asyncio.sleep(INTERVAL)


def _write(path: str) -> None:
    # Without truncating it first: whoever reads it meanwhile finds the one before or this one, of the same length.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, b"%d\n" % time.time(), 0)
    finally:
        os.close(descriptor)


def place(name: str) -> str | None:
    """Where a job of this process beats; None when there is to be no folder. Raises `RunFolderError` without one.

    Removes what jobs of this name have left that were killed.
    """
    problem: OSError | None = None
    for path in run_folder.candidates():
        try:
            with run_folder.opened(path, make=True) as folder:
                for left in _left(folder.path, name):
                    with suppress(FileNotFoundError):
                        os.unlink(left.path)
                return os.path.join(folder.path, f"{name}-{os.getpid()}.heartbeat")
        except OSError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def _left(folder: str, name: str) -> Iterator[Beat]:
    for beat in found(folder):
        # A job that lives may hang; one that beats may be in another container, where its number is another one.
        if beat.name == name and not is_alive(beat.path) and not run_folder.lives(beat.pid):
            yield beat
