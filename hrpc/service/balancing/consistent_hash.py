"""Calls with the same key go to the same endpoint, and when the list changes, few keys move."""

from __future__ import annotations

import hashlib
import math
import struct
from bisect import bisect
from collections.abc import Callable, Collection
from zlib import crc32

from hrpc.service.balancing.endpoint import Endpoint
from hrpc.service.balancing.round_robin import WeightedRoundRobin

PLACES = 100
"""How many places on the ring the heaviest endpoint has: with equal weights, loads differ by some 10 % (1 / √100)."""

_NUMBERS = 20  # bits: a place's lowest ones are the number of its endpoint
_MASK = (1 << _NUMBERS) - 1


class ConsistentHash:
    """A ring: an endpoint has places on it, more with a higher weight, and a key belongs to the next place.

    A ring and not rendezvous hashing, which takes a look at every endpoint for each call, nor Maglev's table or jump
    hashing, which move other keys than those of the endpoint that came or went. The places follow from the address of
    the endpoint alone, so all callers agree on them.
    """

    is_timed = False

    def __init__(self, random: Callable[[], float]) -> None:
        self._without_key = WeightedRoundRobin(random)
        self._ring: list[int] = []
        self._numbered: list[Endpoint | None] = []
        self._placed: dict[Endpoint, tuple[int, int]] = {}
        self._unused: list[int] = []

    def replace(self, endpoints: Collection[Endpoint]) -> None:
        """What stays as it is costs nothing: rings are long."""
        self._without_key.replace(endpoints)
        wanted = _places(endpoints)
        changed = {
            number: endpoint for endpoint, (number, many) in self._placed.items() if wanted.get(endpoint) != many
        }
        if changed:
            self._ring = [place for place in self._ring if place & _MASK not in changed]
        for number, endpoint in changed.items():
            del self._placed[endpoint]
            self._numbered[number] = None
            self._unused.append(number)
        new = [endpoint for endpoint in wanted if endpoint not in self._placed]
        for endpoint in new:
            self._place(endpoint, wanted[endpoint])
        if new:
            self._ring.sort()  # it is two sorted runs, or few: these are merged

    def next(self, key: str | None) -> Endpoint:
        if key is None:
            return self._without_key.next(None)
        ring = self._ring
        place = bisect(ring, _hash(key))
        # The first place comes after the last one.
        endpoint = self._numbered[ring[place if place < len(ring) else 0] & _MASK]
        assert endpoint is not None
        return endpoint

    def first(self, key: str | None, fits: Callable[[Endpoint], bool]) -> Endpoint | None:
        """The next on the ring that fits: where the key would belong if those before were not there."""
        if key is None:
            return self._without_key.first(None, fits)
        start, refused = bisect(self._ring, _hash(key)), set[Endpoint]()
        for step in range(len(self._ring)):
            endpoint = self._numbered[self._ring[(start + step) % len(self._ring)] & _MASK]
            if endpoint is not None and endpoint not in refused:
                if fits(endpoint):
                    return endpoint
                refused.add(endpoint)
                if len(refused) == len(self._placed):
                    break
        return None

    def measured(self, endpoint: Endpoint, seconds: float, failed: bool) -> None:
        """Is not told."""

    def _place(self, endpoint: Endpoint, many: int) -> None:
        if self._unused:
            number = self._unused.pop()
            self._numbered[number] = endpoint
        else:
            number = len(self._numbered)
            self._numbered.append(endpoint)
        self._placed[endpoint] = (number, many)
        name = endpoint.instance.endpoint.encode()
        places = struct.unpack(f"<{many}Q", hashlib.shake_128(name).digest(8 * many))
        self._ring += sorted((place & ~_MASK) | number for place in places)


def _places(endpoints: Collection[Endpoint]) -> dict[Endpoint, int]:
    """How many places each of those with a share gets, by the heaviest of all, whether it has a share or not."""
    heaviest = max((max(endpoint.weight, endpoint.share) for endpoint in endpoints), default=1.0)
    return {endpoint: math.ceil(PLACES * endpoint.share / heaviest) for endpoint in endpoints if endpoint.share > 0}


def _hash(key: str) -> int:
    # 32 bits of 64 are enough to tell a hundred thousand places apart, and cost a fifth of a cryptographic hash.
    return crc32(key.encode("utf-8", "surrogatepass")) << 32
