"""A list of services, given in code or followed in a file."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from loguru import logger

from hrpc.abc import Instance
from hrpc.errors import OptionError
from hrpc.option.static import OPTION, read

FOLLOW_INTERVAL = 1.0
"""Seconds between two looks at the file."""

Listed = Mapping[str, tuple[Instance, ...]]


class ListedServices:
    """A list that does not change."""

    def __init__(self, listed: Listed) -> None:
        self.listed = listed
        self.error: str | None = None
        """Why the newest list is not the one that counts."""
        self.callbacks: list[Callable[[], None]] = []
        """Called after each change of the list."""

    def age(self) -> float:
        """Seconds since the list was last seen to be this one."""
        return 0.0

    async def renew(self) -> None:
        """It is as it was."""


class FileServices(ListedServices):
    """The list in a JSON file; `follow` keeps it up to date."""

    def __init__(self, path: str) -> None:
        """Raises `OptionError` for what is no list."""
        self._path = Path(path)
        self._seen = _state(self._path)
        self._confirmed = time.monotonic()
        super().__init__(self._read())

    def age(self) -> float:
        return time.monotonic() - self._confirmed

    async def follow(self) -> None:
        """Looks for changes until cancelled. A file that is gone, or wrong, changes nothing."""
        while True:
            await asyncio.sleep(FOLLOW_INTERVAL)
            await self.renew()

    async def renew(self) -> None:
        """Looks for a change now."""
        try:
            listed = await asyncio.to_thread(self._newer)
        except OptionError as error:
            logger.error("{}; the list stays as it was", error)
            self.error = str(error)
            return
        if self.error is None:
            self._confirmed = time.monotonic()
        if listed is not None:
            self._take(listed)

    def _take(self, listed: Listed) -> None:
        self.error, self._confirmed = None, time.monotonic()
        if listed != self.listed:
            self.listed = listed
            logger.info("{} is read again: {} services", self._path, len(listed))
            for callback in self.callbacks:
                callback()

    def _newer(self) -> Listed | None:
        state = _state(self._path)
        if state == self._seen:
            return None
        self._seen = state
        return self._read()

    def _read(self) -> Listed:
        where = f"{OPTION}({str(self._path)!r})"
        try:
            return read(where, json.loads(self._path.read_text()))
        except OSError as error:
            raise OptionError(f"{where}: cannot be read: {os.strerror(error.errno or 0).lower()}") from error
        except ValueError as error:
            if isinstance(error, OptionError):
                raise
            raise OptionError(f"{where}: is not JSON: {error}") from error


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
