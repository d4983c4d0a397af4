"""What becomes of the instances of a service, one change after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self

from hrpc.abc import Instance
from hrpc.service.entry import Entry


class Change(NamedTuple):
    """The instances of a service that pass their checks, and what is different from the change before."""

    instances: tuple[Instance, ...]
    """All of them, as they are now."""
    added: tuple[Instance, ...]
    removed: tuple[Instance, ...]
    changed: tuple[Instance, ...]
    """Those with another weight, other tags or other metadata than before."""


class Changes:
    """Gives the changes of a service, beginning with what is known. See `hrpc.service.watch`."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._shown: tuple[Instance, ...] | None = None
        entry.readers.add(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        if self._shown is None:
            await self._entry.answered(None)
        while (now := self._entry.instances) == self._shown:
            await self._entry.turning.wait()
        change = difference(self._shown or (), now)
        self._shown = now
        return change


def difference(before: Iterable[Instance], now: tuple[Instance, ...]) -> Change:
    """What has become of the instances `before`. One with another address is another one."""
    old = {(each.datacenter, each.id, each.endpoint): each for each in before}
    new = {(each.datacenter, each.id, each.endpoint): each for each in now}
    return Change(
        now,
        added=tuple(each for key, each in new.items() if key not in old),
        removed=tuple(each for key, each in old.items() if key not in new),
        changed=tuple(each for key, each in new.items() if key in old and each != old[key]),
    )
