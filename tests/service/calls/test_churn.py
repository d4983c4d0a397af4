"""Instances that come and go leave nothing behind, and cost no call."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from typing import Any

import grpc
import grpc.aio

from tests.echo import SERVICE, call
from tests.eventually import eventually
from tests.service.calls.fleet import fleet
from tests.service.peers import called


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_thousands_of_changes_of_the_list_leave_no_descriptor_no_task_and_no_object() -> None:
    async with called(b"a") as a, called(b"b") as b, called(b"c") as c, fleet((a,)) as found:
        await call(found.channel, "Name")
        fds, tasks = descriptors(), len(asyncio.all_tasks())

        async def closed() -> bool:
            # Connections end in tasks, and their sockets in a thread of gRPC, a moment after they have left the list.
            return descriptors() <= fds + 3 and len(asyncio.all_tasks()) <= tasks + 1

        dice, objects = random.Random(1), []
        for number in range(3000):
            found.listed.replace(dice.sample((a, b, c), dice.randint(0, 3)))
            if number % 10 == 0 and found.listed.instances:
                await call(found.channel, "Name")
            else:
                await asyncio.sleep(0)
            if number % 1000 == 999:
                found.listed.replace((a,))
                await call(found.channel, "Name")
                await eventually(closed)
                gc.collect()
                objects.append(len(gc.get_objects()))
        assert max(objects[1:]) <= objects[0] * 1.02
        assert len(found.connections._open) == 1


async def test_codecs_that_are_made_for_each_call_are_not_kept_for_ever() -> None:
    async with called(b"a") as port, fleet((port,)) as found:
        for _ in range(2100):
            found.channel.unary_unary(f"/{SERVICE}/Name", request_serializer=lambda request: request)
        assert len(found.channel._methods) <= 1000


async def test_an_instance_that_leaves_finishes_its_calls_of_all_kinds_and_gets_no_new_one() -> None:
    opened, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def hold(_: bytes, __: Any) -> bytes:
        entered.release()
        await opened.wait()
        return b"finished"

    async with called(b"a", Hold=hold) as a, called(b"b") as b, fleet((a,)) as found:
        held = asyncio.ensure_future(call(found.channel, "Hold").code())
        stream = found.channel.stream_stream(f"/{SERVICE}/Each")()
        await stream.write(b"1")
        assert await stream.read() == b"1"
        await entered.acquire()
        found.listed.replace((b,))
        assert [await call(found.channel, "Name") for _ in range(5)] == [b"b"] * 5
        await stream.write(b"2")
        assert await stream.read() == b"2"
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        opened.set()
        assert await held is grpc.StatusCode.OK


async def test_an_instance_that_joins_is_used_at_once() -> None:
    async with called(b"a") as a, called(b"b") as b, fleet((a,)) as found:
        assert await call(found.channel, "Name") == b"a"
        found.listed.replace((a, b))
        assert {await call(found.channel, "Name") for _ in range(2)} == {b"a", b"b"}


async def test_while_instances_come_and_go_no_call_fails() -> None:
    async with called(b"a") as a, called(b"b") as b, called(b"c") as c, fleet((a, b, c)) as found:

        async def load() -> None:
            for _ in range(100):
                assert await call(found.channel, "Name", timeout=20) in (b"a", b"b", b"c")

        loads = [asyncio.ensure_future(load()) for _ in range(10)]
        dice = random.Random(1)
        while not all(each.done() for each in loads):
            found.listed.replace(dice.sample((a, b, c), dice.randint(1, 3)))
            await asyncio.sleep(0.001)
        await asyncio.gather(*loads)
