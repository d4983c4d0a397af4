"""A fleet in a model world, where clocks lie, machines stand still and sessions end: no id comes twice."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrpc.consul.sessions import Kept
from hrpc.errors import UniqueIdError
from hrpc.uniqueid import Generator, parts
from hrpc_uniqueid import lease, leases
from hrpc_uniqueid.lease import Lease
from hrpc_uniqueid.leases import Leases

SECOND = 1_000_000_000
TTL = 10.0


class World:
    """Consul, and the time that is true. Sessions end as soon as Consul may end them, or when somebody says so."""

    def __init__(self) -> None:
        self.now = 1_780_000_000 * SECOND
        self._keys: dict[str, Kept] = {}
        self._sessions: dict[str, tuple[float, float]] = {}
        self._locked_until: dict[str, float] = {}
        self._index = 0
        self._write("uniqueid/since", b"", None)

    def _write(self, key: str, value: bytes, session: str | None) -> None:
        self._index += 1
        self._keys[key] = Kept(key, value, session, self._index)

    def _expire(self) -> None:
        for session, (until, _) in list(self._sessions.items()):
            if until <= self.now:
                self.end(session)

    def end(self, session: str) -> None:
        """Somebody destroys a session."""
        _, delay = self._sessions.pop(session, (0.0, 0.0))
        for kept in list(self._keys.values()):
            if kept.session == session:
                self._write(kept.key, kept.value, None)
                self._locked_until[kept.key] = self.now + delay * SECOND

    def holders(self) -> list[str]:
        return [kept.session for kept in self._keys.values() if kept.session]

    async def create(self, name: str, ttl: float, lock_delay: float) -> str:
        self._index += 1
        session = f"session {self._index}"
        self._sessions[session] = (self.now + ttl * SECOND, lock_delay)
        return session

    async def renew(self, session: str) -> bool:
        self._expire()
        if session not in self._sessions:
            return False
        self._sessions[session] = (self.now + TTL * SECOND, self._sessions[session][1])
        return True

    async def destroy(self, session: str) -> None:
        self.end(session)

    async def below(self, prefix: str) -> list[Kept]:
        self._expire()
        return list(self._keys.values())

    async def lock(self, key: str, value: bytes, session: str, index: int | None) -> bool:
        self._expire()
        known = self._keys.get(key)
        if (known and known.changed) != index or self._locked_until.get(key, 0) > self.now:
            return False
        if session not in self._sessions or (known is not None and known.session not in (None, session)):
            return False
        self._write(key, value, session)
        return True

    async def confirm(self, key: str, session: str, value: bytes | None = None) -> bool:
        self._expire()
        known = self._keys.get(key)
        if known is None or known.session != session:
            return False
        if value is not None:
            self._write(key, value, session)
        return True

    async def unlock(self, key: str, value: bytes, session: str) -> bool:
        self._expire()
        known = self._keys.get(key)
        if known is None or known.session != session:
            return False
        self._write(key, value, None)
        return True


class Process:
    """One of the fleet, on a machine of its own."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.ahead = number * SECOND  # no two clocks are alike
        self.lost = 0
        """Nanoseconds in which the machine stood still, clocks and all."""
        place = Leases(world, "uniqueid", TTL)  # type: ignore[arg-type]
        generator = Generator(None, wall=self.wall, monotonic=self.steady, clock=self.steady, sleep=self.sleep)
        self.lease = Lease(place, f"process {number}", None, generator=generator, clock=self.steady)

    def steady(self) -> int:
        return self._world.now - self.lost

    def wall(self) -> int:
        return self.steady() + self.ahead

    def sleep(self, seconds: float) -> None:
        self._world.now += round(seconds * SECOND) + 1

    def make(self, count: int) -> list[int]:
        try:
            return self.lease.generator.next_ids(count)
        except UniqueIdError:
            return []


WHO = st.integers(0, 3)
STEPS = st.one_of(
    st.tuples(st.just("passes"), st.integers(0, 3), st.integers(0, 15_000)),
    st.tuples(st.just("makes"), WHO, st.sampled_from([1, 5, 4096, 5000])),
    st.tuples(st.just("steps"), WHO, st.just(0)),
    st.tuples(st.just("freezes"), WHO, st.integers(0, 40_000)),
    st.tuples(st.just("sets clock"), WHO, st.integers(-90_000, 90_000)),
    st.tuples(st.just("loses session"), WHO, st.just(0)),
    st.tuples(st.just("gives back"), WHO, st.just(0)),
)


async def simulated(steps: list[tuple[str, int, int]], nodes: int = 2) -> list[int]:
    """All ids that a fleet of four makes, which quarrels about these few node ids."""
    world = World()
    fleet = [Process(world, number) for number in range(4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "NODES", nodes)
        return await _simulated(world, fleet, steps)


async def _simulated(world: World, fleet: list[Process], steps: list[tuple[str, int, int]]) -> list[int]:
    made: list[int] = []
    for what, who, amount in steps:
        process = fleet[who]
        match what:
            case "passes":
                world.now += amount * SECOND // 1000
            case "makes":
                made += process.make(amount)
            case "steps":
                with suppress(UniqueIdError):
                    await process.lease.step()
                made += process.make(1)
            case "freezes":
                world.now += amount * SECOND // 1000
                process.lost += amount * SECOND // 1000
                made += process.make(3)  # before it has learned of anything
            case "sets clock":
                process.ahead += amount * SECOND // 1000
            case "loses session":
                for session in world.holders()[:1]:
                    world.end(session)
            case "gives back":
                await process.lease.give_back()
    return made


@pytest.mark.parametrize("deadlines", [True, False], ids=["as it is", "were there no deadlines and no lock delay"])
@settings(max_examples=100)
@given(steps=st.lists(STEPS, min_size=20, max_size=60))
def test_no_id_comes_twice_in_a_fleet(deadlines: bool, steps: list[tuple[str, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if not deadlines:
            patch.setattr(lease, "MARGIN", -1e6)
            patch.setattr(World, "_locked_until", property(lambda _: {}, lambda *_: None), raising=False)
        made = asyncio.run(simulated([("steps", 0, 0), ("steps", 1, 0), *steps]))
    assert len(made) == len(set(made))
    assert {parts(id).node for id in made} <= {0, 1}


def test_the_model_finds_what_goes_wrong_without_the_times_in_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = [("sets clock", 0, 5_000), ("steps", 0, 0), ("gives back", 0, 0)]
    later = [("passes", 0, 4_000), ("steps", 1, 0)]  # of which the clock is a second ahead
    assert len(set(asyncio.run(simulated([*ahead, *later], nodes=1)))) == 1  # it waits for its turn
    monkeypatch.setattr(leases, "_until", lambda kept: -1)
    made = asyncio.run(simulated([*ahead, *later], nodes=1))
    assert len(made) == 2
    assert len(set(made)) == 1
