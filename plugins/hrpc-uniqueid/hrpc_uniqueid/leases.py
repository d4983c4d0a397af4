"""The place in Consul where node ids are leased, and which of them are free.

A mark stands beside the keys of the node ids. Where it is missing, nobody has leased one yet, or Consul has lost its
data: whoever wants a lease then waits until all that there may be from before have run out, and sets the mark.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from loguru import logger

from hrpc.consul.sessions import Kept, Sessions
from hrpc.errors import UniqueIdError
from hrpc.uniqueid.generator import NODES

QUIET = 1.0
"""Times the TTL in which leases from before run out."""

FAKE = "hrpc-dev"
"""The node of hrpc's fake agent for development and tests, which begins empty each time: there nobody waits."""

_UNMARKED = (
    "unique ids: no node id was leased below {} before, or Consul has lost its data: waiting {:g} s, in which leases "
    "from before run out"
)


class Leases:
    """The place where node ids are leased: `path` in Consul KV. Durations are in seconds."""

    def __init__(self, sessions: Sessions, path: str, ttl: float) -> None:
        self.sessions = sessions
        self.path = path
        self.ttl = ttl
        self.mark = f"{path}/since"

    def key(self, node: int) -> str:
        """The key of a node id."""
        return f"{self.path}/nodes/{node}"

    async def listed(self) -> dict[int, Kept]:
        """The keys of all node ids that were ever leased; waits where nobody knows what was. Raises `ConsulError`."""
        while True:
            found = {kept.key: kept for kept in await self.sessions.below(f"{self.path}/")}
            if self.mark in found:
                return {node: found[self.key(node)] for node in range(NODES) if self.key(node) in found}
            if await self.sessions.node() != FAKE:
                logger.warning(_UNMARKED, self.path, QUIET * self.ttl)
                await asyncio.sleep(QUIET * self.ttl)
            await self.sessions.create_key(self.mark, datetime.now(UTC).isoformat(timespec="seconds").encode())


def free(known: dict[int, Kept], now: int) -> Iterator[tuple[int, int | None, int]]:
    """Node ids that may be free, with the index of their key and the last time of their ids; known ones first."""
    used = [(node, kept.changed, _until(kept)) for node, kept in known.items() if kept.session is None]
    # In any order, because others look for one at the same time.
    yield from _shuffled([one for one in used if one[2] < now])
    yield from _shuffled([(node, None, -1) for node in range(NODES) if node not in known])


def _shuffled(nodes: Sequence[tuple[int, int | None, int]]) -> Sequence[tuple[int, int | None, int]]:
    return random.sample(nodes, len(nodes))


def _until(kept: Kept) -> int:
    try:
        return int(json.loads(kept.value)["until"])
    except (ValueError, TypeError, KeyError) as error:
        raise UniqueIdError(
            f"unique ids: the value of key {kept.key!r} is not one of ours: delete the key when no process has it"
        ) from error


def all_taken(leases: Leases, known: dict[int, Kept], now: int) -> str:
    leased = sum(kept.session is not None for kept in known.values())
    ahead = sum(kept.session is None and _until(kept) >= now for kept in known.values())
    return (
        f"unique ids: all {NODES} node ids below {leases.path}/nodes are taken: {leased} are leased, {ahead} were a "
        "moment ago, or by a machine whose clock is ahead of this one; stop instances, or see to the clocks"
    )
