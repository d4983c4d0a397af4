"""Keeping a snapshot: written beside the loop after changes, read before the next start, ignored when not ours."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from loguru import logger

from hrpc.abc import Instance, Selection
from hrpc.consul.snapshot import Origin, Snapshot, keeper
from hrpc.consul.snapshot.contents import decode
from hrpc.errors import OptionError
from hrpc.option import SnapshotSettings
from tests.clock import Clock
from tests.eventually import eventually

ORIGIN = Origin("orders", "production", "production")
USERS = Selection("users", ("production",))
FOUND = (Instance("users-1", "users", "10.0.0.1", 8888),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "snapshot"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(str(message)), format="{level} {message}", level="INFO")
    yield lines
    logger.remove(number)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "WRITE_INTERVAL", 0.001)
    monkeypatch.setattr(keeper, "CONFIRM_INTERVAL", 0.02)


def a_snapshot(path: Path, clock: Clock, origin: Origin = ORIGIN, secrets: bool = False) -> Snapshot:
    return Snapshot(SnapshotSettings(str(path), 3600.0, secrets), origin, clock)


@asynccontextmanager
async def kept(snapshot: Snapshot) -> AsyncIterator[None]:
    """One life."""
    await snapshot.load()
    keeping = asyncio.create_task(snapshot.keep())
    yield
    keeping.cancel()
    await asyncio.wait({keeping})
    await snapshot.write()


async def fill(path: Path, clock: Clock, secrets: bool = False) -> None:
    snapshot = a_snapshot(path, clock, secrets=secrets)
    async with kept(snapshot):
        assert not snapshot.usable
        snapshot.remember("production/limit", b"20", clock.now)
        snapshot.remember("production/databases/mysql", b'{"password": "hidden"}', clock.now)
        snapshot.remember(USERS, FOUND, clock.now)


async def test_the_next_life_has_what_this_one_knew_and_its_true_age(path: Path, clock: Clock) -> None:
    await fill(path, clock)
    clock.now += 600
    snapshot = a_snapshot(path, clock)
    async with kept(snapshot):
        assert snapshot.usable
        assert snapshot.restore("production/limit") == (b"20", 600)
        assert snapshot.restore(USERS) == (FOUND, 600)
        assert "1 keys and 1 services, the oldest of 0:10:00 ago" in snapshot.about()
        # What is confirmed is younger, and what is not goes on ageing, also over a further life.
        snapshot.remember("production/limit", b"20", clock.now)
        clock.now += 100
        assert snapshot.restore("production/limit") == (b"20", 100)
    async with kept(a_snapshot(path, clock)):
        pass
    third = a_snapshot(path, clock)
    async with kept(third):
        assert third.restore(USERS) == (FOUND, 700)


async def test_a_change_is_written_soon_and_without_one_the_times_are(path: Path, clock: Clock, quick: None) -> None:
    snapshot = a_snapshot(path, clock)
    async with kept(snapshot):
        snapshot.remember("production/limit", b"20", 1000.0)

        async def limit(value: bytes, at: float) -> bool:
            stored = decode(path.read_bytes()).keys["production/limit"]
            return (stored.value, stored.at) == (value, at)

        async def exists() -> bool:
            return path.exists()

        await eventually(exists)
        assert await limit(b"20", 1000.0)
        snapshot.remember("production/limit", b"21", 1001.0)
        await eventually(lambda: limit(b"21", 1001.0))
        snapshot.remember("production/limit", b"21", 1002.0)
        await eventually(lambda: limit(b"21", 1002.0))


async def test_a_life_that_learned_nothing_leaves_the_file_as_it_is(path: Path, clock: Clock, quick: None) -> None:
    await fill(path, clock)
    before = path.stat().st_mtime_ns
    async with kept(a_snapshot(path, clock)):
        await asyncio.sleep(0.1)
    assert path.stat().st_mtime_ns == before


async def test_secrets_are_not_stored_unless_asked_for_and_their_absence_is_explained(path: Path, clock: Clock) -> None:
    await fill(path, clock)
    assert b"hidden" not in path.read_bytes()
    snapshot = a_snapshot(path, clock)
    async with kept(snapshot):
        assert snapshot.restore("production/databases/mysql") is None
        assert (
            "it may hold secrets, which are only stored with hrpc.with_snapshot(…, secrets=True)"
            in snapshot.missing("production/databases/mysql")
        )
    path.unlink()
    await fill(path, clock, secrets=True)
    asked_for = a_snapshot(path, clock, secrets=True)
    async with kept(asked_for):
        assert asked_for.restore("production/databases/mysql") == (b'{"password": "hidden"}', 0)
        # Asked for no longer: what the file held is used, and not written again.
        asked_for.remember("production/limit", b"21", clock.now)
    later = a_snapshot(path, clock)
    async with kept(later):
        assert later.restore("production/databases/mysql") is not None
        later.remember("production/limit", b"22", clock.now)
    assert "production/databases/mysql" not in decode(path.read_bytes()).keys


async def test_what_is_too_old_is_ignored_and_told_of(path: Path, clock: Clock, told: list[str]) -> None:
    await fill(path, clock)
    clock.now += 3601
    snapshot = a_snapshot(path, clock)
    async with kept(snapshot):
        assert not snapshot.usable
        assert snapshot.restore(USERS) is None
        assert "is 1:00:01 old, which is more than hrpc.with_snapshot(…, max_age=3600)" in snapshot.missing(USERS)
    assert "2 of its values are older than 1:00:00 or from the future" in told[0]


async def test_a_value_grows_too_old_while_the_service_runs_without_consul(path: Path, clock: Clock) -> None:
    await fill(path, clock)
    snapshot = a_snapshot(path, clock)
    async with kept(snapshot):
        assert snapshot.restore(USERS)
        clock.now += 3601
        assert snapshot.restore(USERS) is None


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (Origin("users", "production", "production"), "server 'orders', not 'users'"),
        (Origin("orders", "staging", "staging"), "environment 'production', not 'staging'"),
    ],
)
async def test_a_file_of_another_service_is_ignored_and_replaced(
    path: Path, clock: Clock, told: list[str], other: Origin, says: str
) -> None:
    await fill(path, clock)
    snapshot = a_snapshot(path, clock, other)
    async with kept(snapshot):
        assert not snapshot.usable
        assert says in told[0]
        assert says in snapshot.missing(USERS)
        snapshot.remember("staging/limit", b"1", clock.now)
    assert decode(path.read_bytes()).origin == other


async def test_a_damaged_file_is_ignored_and_replaced(path: Path, clock: Clock, told: list[str]) -> None:
    path.write_bytes(b"\x00" * 1000)
    path.chmod(0o600)
    await fill(path, clock)
    assert "it is no snapshot of hrpc; it is ignored, and replaced" in told[0]
    assert decode(path.read_bytes()).keys


async def test_an_empty_list_of_instances_does_not_replace_the_last_good_one(path: Path, clock: Clock) -> None:
    await fill(path, clock)
    snapshot = a_snapshot(path, clock)
    async with kept(snapshot):
        snapshot.remember(USERS, (), clock.now)
        assert snapshot.restore(USERS) == (FOUND, 0)


async def test_a_disk_that_is_full_is_told_once_and_costs_nothing_but_the_file(
    path: Path, clock: Clock, told: list[str], quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    tries: list[int] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", full)
    snapshot = a_snapshot(path, clock)
    async with kept(snapshot):
        snapshot.remember("production/limit", b"20", clock.now)

        async def tried_again() -> bool:
            return len(tries) > 2

        await eventually(tried_again)
        assert len(told) == 1
        assert "cannot be written: No space left on device" in told[0]
        monkeypatch.setattr(os, "replace", replace)

        async def written() -> bool:
            return snapshot.written is not None

        await eventually(written)
        assert "written again" in told[1]


async def test_a_folder_that_is_not_there_fails_the_start(clock: Clock) -> None:
    with pytest.raises(OptionError, match="there is no folder '/nowhere'"):
        await a_snapshot(Path("/nowhere/snapshot"), clock).load()


async def test_what_is_followed_no_more_is_forgotten_when_it_is_too_old(path: Path, clock: Clock) -> None:
    snapshot = a_snapshot(path, clock)
    await snapshot.load()
    for number in range(100):
        snapshot.remember(f"production/once-{number}", b"", clock.now)
    await snapshot.write()
    assert len(snapshot._keys) == 100
    clock.now += 3601
    snapshot.remember("production/limit", b"20", clock.now)
    await snapshot.write()
    assert list(snapshot._keys) == ["production/limit"]
