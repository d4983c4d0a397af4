"""The node id of `hrpc.with_node_id`, for the time of a life."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hrpc import _runtime, uniqueid
from hrpc.errors import OptionError, UniqueIdError
from hrpc.option import Settings
from hrpc.server.parts import Parts
from hrpc.server.workers import forking
from hrpc.uniqueid.generator import NODES
from hrpc.uniqueid.nodes import nodes


@asynccontextmanager
async def taken(parts: Parts, first: int) -> AsyncIterator[None]:
    """Lets the process make ids with the node id, or as a worker with one of those that follow it.

    Raises `UniqueIdError` when it is in use, and `OptionError` when there are not enough.
    """
    last = first + _more(parts)
    if last >= NODES:
        raise OptionError(
            f"hrpc.with_node_id({first}): the workers need the node ids {first} to {last}, and {NODES - 1} is the "
            "last one: begin with a lower one, or take fewer workers"
        )
    with _runtime.process_ids.giving(_generator(parts.settings, range(first, last + 1))):
        yield


def _more(parts: Parts) -> int:
    return 0 if parts.runtime.worker is None else forking.count(parts.settings.workers)


def _generator(settings: Settings, wanted: range) -> uniqueid.Generator:
    found = nodes().of(wanted)
    if found is not None:
        return found
    which = f"{wanted[0]}" if len(wanted) == 1 else f"each of {wanted[0]} to {wanted[-1]}"
    raise UniqueIdError(
        f"hrpc.with_node_id({wanted[0]}): another process of this machine has node id {which}; stop that one, or "
        f"choose another for {settings.server_name!r}"
    )
