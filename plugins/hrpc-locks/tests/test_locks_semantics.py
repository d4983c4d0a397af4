"""Who may have a lock, beside whom, and after whom."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lock_clients import Holder, keys, nothing_is_left, opened, waits
from redis.crc import key_slot

from hrpc.errors import OptionError
from hrpc.testing.servers import RedisServer
from hrpc_locks import Locks, LockTimeout, LockUnavailable, LockUpgrade, scripts
from hrpc_locks.asking import Asking
from hrpc_locks.scripts import Place
from tests.proxy import proxied

_numbers = itertools.count()


@pytest.fixture
def prefix() -> str:
    return f"semantics-{next(_numbers)}"


@pytest.fixture
async def locks(redis_server: RedisServer, prefix: str) -> AsyncIterator[Locks]:
    async with opened(redis_server, prefix) as made:
        yield made


@pytest.fixture
async def patient(redis_server: RedisServer, prefix: str) -> AsyncIterator[Locks]:
    """Locks that ask again only when they are told."""
    async with opened(redis_server, prefix, ttl=600) as made:
        yield made


@pytest.fixture
async def others(redis_server: RedisServer, prefix: str) -> AsyncIterator[Locks]:
    async with opened(redis_server, prefix) as made:
        yield made


async def test_one_writes_alone_and_its_token_is_larger_than_all_before(locks: Locks, others: Locks) -> None:
    tokens = []
    for one, other in ((locks, others), (others, locks)):
        async with one.write("a") as held:
            tokens.append(held.token)
            for refused in (other.write("a", timeout=0), other.read("a", timeout=0)):
                with pytest.raises(LockTimeout, match="lock 'a': not free within 0 s: it is held"):
                    async with refused:
                        pass
            async with other.write("b", timeout=0) as another:
                tokens.append(another.token)
    assert tokens[0] < tokens[2]
    assert tokens[1] < tokens[3]


async def test_readers_are_there_together_and_no_writer_beside_them(locks: Locks, others: Locks) -> None:
    async with locks.read("a") as first:
        reader = Holder(others.read("a", timeout=0))
        await reader.has.wait()
        with pytest.raises(LockTimeout, match="2 hold it"):
            async with others.write("a", timeout=0):
                pass
        await reader.leave()
    async with others.write("a", timeout=0) as second:
        assert reader.held is not None
        assert first.token < reader.held.token < second.token


async def test_a_task_enters_again_and_the_last_block_gives_the_lock_back(locks: Locks, others: Locks) -> None:
    async with locks.write("a") as outer:
        async with locks.write("a") as inner, locks.read("a") as innermost:
            assert inner is innermost is outer
        with pytest.raises(LockTimeout):
            async with others.read("a", timeout=0):
                pass
    async with others.write("a", timeout=0):
        pass
    lock = locks.read("a")
    async with lock, lock:
        pass
    async with others.write("a", timeout=0):
        pass


async def test_other_tasks_of_the_process_do_not_share_it_nor_do_children(locks: Locks) -> None:
    async with locks.write("a"):

        async def child() -> None:
            async with locks.write("a", timeout=0):
                pass

        with pytest.raises(LockTimeout):
            await asyncio.create_task(child())


async def test_who_reads_cannot_write_as_well(locks: Locks) -> None:
    async with locks.read("a"):
        with pytest.raises(
            LockUpgrade, match="lock 'a': this task has it to read, and cannot have it to write as well"
        ):
            async with locks.write("a"):
                pass
        async with locks.read("a"):
            pass


async def test_who_waits_gets_it_as_soon_as_it_is_given_back(
    locks: Locks, others: Locks, redis_server: RedisServer, prefix: str
) -> None:
    for first, second in itertools.product((locks.write, locks.read), (others.write, others.read)):
        if (first, second) == (locks.read, others.read):
            continue
        holder = Holder(first("a"))
        await holder.has.wait()
        waiting = Holder(second("a"))
        await waits(others)
        assert not waiting.has.is_set()
        await holder.leave()
        await waiting.has.wait()
        await waiting.leave()
    assert others.counts == {"acquired": 3, "waited": 3, "timeouts": 0, "lost": 0}
    await nothing_is_left(redis_server, prefix)


async def test_they_come_in_the_order_in_which_they_wait_and_readers_together(locks: Locks, others: Locks) -> None:
    first = Holder(locks.read("a"))
    await first.has.wait()
    line = []
    for number, lock in enumerate(
        [others.write("a"), locks.read("a"), others.read("a"), locks.write("a"), others.read("a")]
    ):
        line.append(Holder(lock))
        await waits(locks, number + 1)
    writer, reader, another, last_writer, last_reader = line
    await first.leave()
    await writer.has.wait()
    assert not reader.has.is_set()
    await writer.leave()
    await asyncio.gather(reader.has.wait(), another.has.wait())
    assert not last_reader.has.is_set()
    await reader.leave()
    assert not last_writer.has.is_set()
    await another.leave()
    await last_writer.has.wait()
    await last_writer.leave()
    await last_reader.has.wait()
    await last_reader.leave()


async def test_readers_that_keep_coming_do_not_keep_a_writer_out(locks: Locks, others: Locks) -> None:
    over = asyncio.Event()

    async def reads() -> None:
        while not over.is_set():
            async with locks.read("a"):
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as readers:
        for _ in range(8):
            readers.create_task(reads())
        for _ in range(5):
            async with others.write("a", timeout=10):
                pass
        over.set()


async def test_who_gives_up_lets_those_behind_pass(patient: Locks, redis_server: RedisServer, prefix: str) -> None:
    locks = others = patient
    holder = Holder(locks.read("a"))
    await holder.has.wait()
    writer = Holder(others.write("a"))
    await waits(others)
    reader = Holder(locks.read("a"))
    await waits(locks, 2)
    writer.task.cancel()
    await reader.has.wait()
    assert writer.task.cancelled()
    with pytest.raises(LockTimeout, match=r"not free within 0\.05 s: 2 hold it$"):
        async with others.write("a", timeout=0.05):
            pass
    await reader.leave()
    await holder.leave()
    await nothing_is_left(redis_server, prefix)
    assert others.waiting == locks.waiting == 0


@pytest.mark.parametrize("is_held", [False, True])
async def test_one_that_is_cancelled_while_redis_answers_leaves_nothing_behind(
    locks: Locks, redis_server: RedisServer, prefix: str, is_held: bool
) -> None:
    async with proxied(redis_server.address) as proxy, opened(redis_server, prefix, port=proxy.port) as far:
        async with far.read("warm"):
            pass
        holder = Holder(locks.write("a" if is_held else "b"))
        await holder.has.wait()
        proxy.freeze()
        asking = [Holder(far.write("a")) for _ in range(5)]
        await asyncio.sleep(0)
        for one in asking:
            one.task.cancel()
        await asyncio.wait([one.task for one in asking])
        await proxy.heal()
        await holder.leave()
        async with locks.write("a", timeout=6):
            pass
    await nothing_is_left(redis_server, prefix)


async def test_a_stop_waits_for_one_that_is_cancelled_while_it_gives_back(
    redis_server: RedisServer, prefix: str
) -> None:
    async with proxied(redis_server.address) as proxy, opened(redis_server, prefix, port=proxy.port) as far:
        holder = Holder(far.write("a"))
        await holder.has.wait()
        proxy.freeze()
        holder.leaves.set()
        await asyncio.sleep(0)
        assert far.held == 0
        settling = asyncio.create_task(far.settle())
        await asyncio.sleep(0)
        holder.task.cancel()
        await asyncio.wait({holder.task})
        await proxy.heal()
        await settling
        assert not await keys(redis_server, prefix)


class Late:
    """A client whose questions for locks get to Redis late: also after whoever asks was cancelled."""

    def __init__(self, client: Any) -> None:
        self.arrives = asyncio.Event()
        self.answers: list[asyncio.Task[Any]] = []
        self._client = client

    async def evalsha(self, digest: str, *arguments: Any) -> Any:
        if digest != scripts._DIGESTS[scripts.ACQUIRE]:
            return await self._client.evalsha(digest, *arguments)

        async def late() -> Any:
            await self.arrives.wait()
            return await self._client.evalsha(digest, *arguments)

        self.answers.append(asyncio.create_task(late()))
        return await asyncio.shield(self.answers[-1])


async def test_what_redis_reads_after_its_asker_was_cancelled_takes_no_lock(locks: Locks, prefix: str) -> None:
    async with locks.write("a"):
        pass
    client = Late(locks._client)
    async with Locks(client, prefix=prefix) as late:  # type: ignore[arg-type]
        asking = Holder(late.write("a"))
        while not client.answers:
            await asyncio.sleep(0)
        asking.task.cancel()
        await asyncio.wait({asking.task})
        await late.settle()
        client.arrives.set()
        assert await client.answers[0] == [-1, 0, 0, 0]
    async with locks.write("a", timeout=0):
        pass


async def test_an_answer_on_its_way_to_one_that_has_left_is_refused(
    locks: Locks, redis_server: RedisServer, prefix: str
) -> None:
    # What it asked is read by Redis after it was told that it has left, as from another connection.
    place = Place.of(prefix, "a")
    asking = Asking(locks._client, locks._waking, place, "a", "w:me:1", 1.0)
    await scripts.run(locks._client, scripts.RELEASE, place, "w:me:1", 1.0, True)
    with pytest.raises(LockUnavailable, match="given up before it was had"):
        await asking.lock(5)
    async with locks.write("a", timeout=0):
        pass


async def test_the_keys_begin_with_the_environment_and_are_in_one_place_of_a_cluster(
    locks: Locks, others: Locks, redis_server: RedisServer, prefix: str
) -> None:
    async with locks.read("orders/7"):
        waiting = Holder(others.write("orders/7"))
        await waits(others)
        reader = Holder(locks.read("orders/7"))
        await waits(locks, 2)
        found = await keys(redis_server, prefix, with_tokens=True)
    assert found == [
        f"{prefix}:locks:{{orders/7}}:{part}" for part in ("holders", "readers", "token", "waiting", "writers")
    ]
    assert len({key_slot(key.encode()) for key in Place.of(prefix, "orders/7").keys}) == 1
    await waiting.has.wait()
    await waiting.leave()
    await reader.has.wait()
    await reader.leave()


async def test_nothing_stays_for_ever_in_redis(locks: Locks, others: Locks, prefix: str) -> None:
    async with locks.write("a"):
        waiting = Holder(others.write("a"))
        await waits(others)
        client = locks._client
        found = {key: await client.pttl(key) for key in await client.keys(f"{prefix}:*")}
    assert len(found) == 4
    assert all(0 < ttl <= (24 * 3600 * 1000 if key.endswith(b":token") else 10_000) for key, ttl in found.items())
    await waiting.has.wait()
    await waiting.leave()


def test_names_and_times_are_checked() -> None:
    locks = Locks(None, prefix="p")  # type: ignore[arg-type]
    for name in ("", "a{b}", "a\n", "a" * 513, 7):
        with pytest.raises(OptionError, match=r"hrpc_locks\.(write|read): "):
            locks.write(name)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="timeout=-1: takes seconds, 0 at least"):
        locks.read("a", timeout=-1)
    with pytest.raises(OptionError, match=r"ttl=0: takes seconds, 0\.1 at least"):
        Locks(None, prefix="p", ttl=0)  # type: ignore[arg-type]
