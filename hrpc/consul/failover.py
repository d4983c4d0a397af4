"""One value out of several watches: that of the first datacenter that has any instance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from hrpc.abc import Instance, WatchReport
from hrpc.consul.watch import Watch
from hrpc.errors import ConsulUnreachable

Instances = tuple[Instance, ...]


class Failover:
    """The instances of the first of `watches` that is followed and has some; a `hrpc.abc.Watched`.

    A datacenter that cannot be asked any more counts as having none; when that is so of all, what was last known does.
    """

    def __init__(self, name: str, watches: Sequence[Watch[Instances]]) -> None:
        self.name = name
        self.value: Instances = ()
        self._watches = watches
        self._chosen = watches[0]
        self._answered = asyncio.Event()
        self._changes = 0
        self._callbacks: list[Callable[[], None]] = []
        for watch in watches:
            watch.on_round(self._turn)
        self._turn()  # they may have answered already: this can be the thread of a handler

    @property
    def known(self) -> bool:
        """Whether it is known which datacenter counts."""
        return self._answered.is_set()

    def age(self) -> float:
        """Seconds since Consul last confirmed the value; infinite before the first answer."""
        return self._chosen.age()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back after every change of the value."""
        self._callbacks.append(callback)

    async def ready(self, timeout: float | None) -> None:
        """Waits until it is known which datacenter counts, at most `timeout` seconds if any; raises `ConsulError`."""
        try:
            async with asyncio.timeout(timeout):
                await self._answered.wait()
        except TimeoutError:
            failed = next((watch.error for watch in self._watches if watch.error is not None), None)
            raise failed or ConsulUnreachable(f"{self.name}: no answer from Consul within {timeout:g} s") from None

    def report(self) -> WatchReport:
        """How following the datacenter goes that counts; the error is that of the first one that has any."""
        error = next((str(watch.error) for watch in self._watches if watch.error is not None), None)
        return replace(self._chosen.report(), error=error, changes=self._changes)

    def _turn(self) -> None:
        chosen = self._choice()
        if chosen is None:
            return
        self._chosen = chosen
        self._answered.set()
        if chosen.value != self.value:
            self.value = chosen.value
            self._changes += 1
            for callback in self._callbacks:
                callback()

    def _choice(self) -> Watch[Instances] | None:
        """The watch that counts; None as long as one that is preferred may still answer."""
        for watch in self._watches:
            if watch.lost:
                continue
            if not watch.known:
                return None
            if watch.value:
                return watch
        known = [watch for watch in self._watches if watch.known]
        return next((watch for watch in known if watch.value), known[0] if known else None)
