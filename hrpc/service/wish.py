"""Which instances a caller asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Wish(NamedTuple):
    """What a caller asks for; the directory makes a selection of it."""

    name: str
    tag: str | tuple[str, ...] | None = None
    version: str | None = None
    datacenters: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        tag: str | Sequence[str] | None = None,
        version: str | None = None,
        datacenters: Sequence[str] = (),
    ) -> Wish:
        """From the arguments of `hrpc.service.get` and the like."""
        tags = tag if tag is None or isinstance(tag, str) else tuple(tag)
        return cls(name, tags, version, (datacenters,) if isinstance(datacenters, str) else tuple(datacenters))
