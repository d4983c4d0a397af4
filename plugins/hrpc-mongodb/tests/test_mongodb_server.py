"""MongoDB in the life of a server: calls, readiness, metrics, spans, and settings that change in Consul under load."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import grpc.aio
import pytest
from mongodb_fake import FakeMongoDB
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from pymongo.errors import DuplicateKeyError

import hrpc
import hrpc_mongodb
from hrpc import configs
from hrpc.abc import Database
from hrpc.server.pools import Live
from hrpc.testing import provide
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.callers import loaded
from tests.echo import add_echo, call
from tests.eventually import eventually
from tests.tracing.spans import Spans

if TYPE_CHECKING:
    from conftest import MakeFake

CALLERS = 4


def of(server: FakeMongoDB, **more: Any) -> dict[str, Any]:
    return {"address": server.host, "port": server.port, "dbname": "shop"} | more


def serving(*options: hrpc.Option) -> hrpc.Server:
    return hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_graceful_stop(drain_delay=0),
        *options,
    )


def with_stored(consul: ConsulServer, prefix: str, *databases: Database) -> tuple[hrpc.Option, ...]:
    center = hrpc.Consul(address=consul.address, prefix=prefix)
    return hrpc.with_consul(center), hrpc.with_databases(*(databases or (hrpc_mongodb.new(),)))


def live(server: hrpc.Server) -> Live:
    assert server._running is not None
    return server._running.parts.pools._open["mongodb"]


async def changed(server: hrpc.Server, settings: dict[str, Any]) -> None:
    """Stores other settings, and waits until they are used and the old pool is closed."""
    found = live(server)
    before = found.pool
    await configs.set("databases/mongodb", json.dumps(settings))

    async def is_closed() -> bool:
        return found.pool is not before and found.pools == [found.pool]

    await eventually(is_closed)
    assert not found.outdated


async def read(_: bytes, __: Any) -> bytes:
    found = await hrpc_mongodb.get().sold.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}}, upsert=True)
    return json.dumps(found).encode()


async def test_handlers_use_it_and_it_is_a_part_of_readiness_and_metrics(make_fake: MakeFake) -> None:
    fake = make_fake()
    server = serving(
        hrpc.with_health_check(0),
        hrpc.with_metrics(0),
        hrpc.with_databases(hrpc_mongodb.new(**of(fake, selection_timeout=1.0))),
    )
    add_echo(server, Read=read)

    async def readiness(http: aiohttp.ClientSession) -> str:
        async with http.get(f"http://127.0.0.1:{server.health_port}/healthx/readiness") as response:
            return str((await response.json())["parts"]["mongodb"])

    async with server, grpc.aio.insecure_channel(server.address) as channel, aiohttp.ClientSession() as http:
        assert await call(channel, "Read") == b"null"
        assert await call(channel, "Read") == b'{"_id": 1, "n": 1}'
        assert await readiness(http) == "ok"
        async with http.get(f"http://127.0.0.1:{server.metrics_port}/metrics") as response:
            text = await response.text()
        assert 'hrpc_pool_connections{pool="mongodb",state="idle"} 1.0' in text
        assert 'hrpc_pool_opened_total{pool="mongodb"} 1.0' in text
        assert await hrpc_mongodb.valid()
        fake.kill()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(channel, "Read", timeout=30.0)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (error.value.details() or "").startswith("mongodb is unavailable (error id")
        assert not await hrpc_mongodb.valid()

        async def is_unready() -> bool:
            return await readiness(http) != "ok"

        await eventually(is_unready)
        fake.start()

        async def is_well() -> bool:
            try:
                return bool(await call(channel, "Read", timeout=5.0))
            except grpc.aio.AioRpcError:
                return False

        await eventually(is_well)


async def test_a_call_that_waits_for_a_silent_server_ends_at_its_deadline(make_fake: MakeFake) -> None:
    fake = make_fake()
    server = serving(hrpc.with_databases(hrpc_mongodb.new(**of(fake))))
    add_echo(server, Read=read)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        fake.silent = {"findAndModify"}
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(channel, "Read", timeout=1.0)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert fake.commands[-1]["maxTimeMS"] < 1500, "the server was told when to stop"
        fake.silent = set()
        assert await call(channel, "Read") == b"null"


async def test_settings_come_from_consul_and_each_database_has_its_own(
    consul: ConsulServer, make_fake: MakeFake
) -> None:
    one, other = make_fake(users={"shop": "s3cret"}), make_fake()
    login = {"username": "shop", "password": "s3cret"}
    await agent.store(consul.address, "mongodb-named/databases/mongodb", json.dumps(of(one, **login)))
    await agent.store(consul.address, "mongodb-named/databases/events", json.dumps(of(other, dbname="events")))
    databases = hrpc_mongodb.new(), hrpc_mongodb.new(name="events")
    async with serving(*with_stored(consul, "mongodb-named", *databases)):
        await hrpc_mongodb.get().sold.insert_one({"_id": 1})
        await hrpc_mongodb.get("events").seen.insert_one({"_id": 2})
    assert [set(fake.store.collections) for fake in (one, other)] == [{("shop", "sold")}, {("events", "seen")}]


@pytest.mark.usefixtures("sockets_left")
async def test_it_is_opened_again_under_load_and_nothing_fails(consul: ConsulServer, make_fake: MakeFake) -> None:
    first, second = make_fake(users={"shop": "old", "store": "new"}), make_fake()
    settings = of(first, username="shop", password="old", acquire_timeout=9.0)
    await agent.store(consul.address, "mongodb-load/databases/mongodb", json.dumps(settings))
    async with serving(*with_stored(consul, "mongodb-load")) as server:
        db, sold = hrpc_mongodb.get(), hrpc_mongodb.get().sold
        await sold.insert_many([{"_id": number} for number in range(20)])

        async def use() -> None:
            await sold.update_one({"_id": 1}, {"$inc": {"n": 1}})
            assert len([one async for one in sold.find({}, {"_id": 1}, batch_size=7)]) == 20
            async with db.client.start_session() as session, await session.start_transaction():
                assert await db["sold"].find_one({"_id": 2}, session=session)
                assert await db["sold"].find_one({"_id": 3}, session=session)

        async with loaded(use, (), CALLERS) as load:
            await load.reach(succeeded=8)
            for limit in (10, 6, 8):
                await changed(server, settings | {"username": "store", "password": "new", "max_open_conns": limit})
                await load.reach(succeeded=8)
            second.store.collections["moved", "sold"] = first.store.collections["shop", "sold"].copy()
            await changed(server, of(second, dbname="moved"))
            first.commands.clear()
            await load.reach(succeeded=8)
            assert load.failed == 0
            assert not first.commands
        assert hrpc_mongodb.get() is db
        assert (db.name, sold.full_name) == ("moved", "moved.sold")

        async def is_left() -> bool:
            return first.connections == 0

        await eventually(is_left)


async def test_cursors_and_transactions_end_where_they_began(consul: ConsulServer, make_fake: MakeFake) -> None:
    first, second = make_fake(), make_fake()
    await agent.store(consul.address, "mongodb-held/databases/mongodb", json.dumps(of(first)))
    async with serving(*with_stored(consul, "mongodb-held")) as server:
        db = hrpc_mongodb.get()
        await db.sold.insert_many([{"_id": number} for number in range(30)])
        cursor = db.sold.find({}, batch_size=5)
        await cursor.next()
        grouped = await db.sold.aggregate([{"$match": {}}], batchSize=5)
        await grouped.next()
        async with db.client.start_session() as session:
            async with await session.start_transaction():
                await db.sold.insert_one({"_id": "begun"}, session=session)
                await configs.set("databases/mongodb", json.dumps(of(second)))

                async def is_new() -> bool:
                    return len(live(server).pools) == 2

                await eventually(is_new)
                await db.sold.insert_one({"_id": "in the old one"}, session=session)
                await db.sold.insert_one({"_id": "in the new one"})
            assert len(await cursor.to_list()) == 29
            assert len([one async for one in grouped]) == 29
            assert len(live(server).pools) == 2, "the session is not over"
        await eventually(lambda: asyncio.sleep(0, len(live(server).pools) == 1))
    assert {"begun", "in the old one"} < set(first.store.collections["shop", "sold"])
    assert set(second.store.collections["shop", "sold"]) == {"in the new one"}


async def test_settings_that_cannot_be_used_leave_the_pool_open(consul: ConsulServer, make_fake: MakeFake) -> None:
    fake = make_fake(users={"shop": "s3cret"})
    settings = of(fake, username="shop", password="s3cret")
    await agent.store(consul.address, "mongodb-wrong/databases/mongodb", json.dumps(settings))
    async with serving(*with_stored(consul, "mongodb-wrong")) as server:
        await configs.set("databases/mongodb", json.dumps(settings | {"password": "wr0ng"}))

        async def is_outdated() -> bool:
            return live(server).outdated

        await eventually(is_outdated)
        await hrpc_mongodb.get().sold.insert_one({"_id": 1})
        await changed(server, settings | {"max_open_conns": 2})


async def left(fake: FakeMongoDB) -> None:
    """All connections are closed; the server, in a thread of its own, notices soon."""

    async def nobody_is_there() -> bool:
        return fake.connections == 0

    await eventually(nobody_is_there)


async def test_a_stop_does_not_wait_for_what_somebody_still_holds(make_fake: MakeFake) -> None:
    fake = make_fake()
    async with asyncio.timeout(20):
        async with serving(hrpc.with_databases(hrpc_mongodb.new(**of(fake)))):
            db = hrpc_mongodb.get()
            await db.sold.insert_many([{"_id": number} for number in range(30)])
            cursor = db.sold.find({}, batch_size=5)
            await cursor.next()
            fake.silent = {"endSessions", "killCursors"}
    await left(fake)


async def test_a_stop_does_not_wait_for_what_an_old_pool_has_lent(consul: ConsulServer, make_fake: MakeFake) -> None:
    first, second = make_fake(), make_fake()
    await agent.store(consul.address, "mongodb-stop/databases/mongodb", json.dumps(of(first)))
    async with asyncio.timeout(20):
        async with serving(*with_stored(consul, "mongodb-stop")) as server:
            session = hrpc_mongodb.get().client.start_session()
            await hrpc_mongodb.get().sold.find_one({}, session=session)
            await configs.set("databases/mongodb", json.dumps(of(second)))

            async def is_new() -> bool:
                return len(live(server).pools) == 2

            await eventually(is_new)
    await left(first)
    assert not session.has_ended


async def test_the_name_of_the_plugin_is_enough_where_consul_has_the_settings(
    consul: ConsulServer, make_fake: MakeFake
) -> None:
    fake = make_fake()
    await agent.store(consul.address, "mongodb-plugin/databases/mongodb", json.dumps(of(fake)))
    center = hrpc.Consul(address=consul.address, prefix="mongodb-plugin")
    async with serving(hrpc.with_consul(center), hrpc.with_plugins(hrpc_mongodb.MongoDB(max_open_conns=3))):
        await hrpc_mongodb.get().sold.insert_one({"_id": 1})
        assert hrpc_mongodb.get().client.options.pool_options.max_pool_size == 3
    assert fake.store.collections["shop", "sold"] == {1: {"_id": 1}}


async def test_a_job_uses_it_and_a_test_puts_another_in_its_place(make_fake: MakeFake) -> None:
    fake = make_fake()
    server = serving(hrpc.with_databases(hrpc_mongodb.new(**of(fake))))

    async def job() -> object:
        await hrpc_mongodb.get().sold.insert_one({"_id": 1})
        with provide(hrpc_mongodb, "fake"):
            return hrpc_mongodb.get()

    assert await asyncio.to_thread(server.run, job) == "fake"
    assert fake.store.collections["shop", "sold"] == {1: {"_id": 1}}


async def test_a_command_is_a_span_of_what_runs_it_and_tells_no_value(make_fake: MakeFake) -> None:
    fake, spans = make_fake(), Spans()
    async with serving(spans.option(), hrpc.with_databases(hrpc_mongodb.new(**of(fake)))):
        db = hrpc_mongodb.get()
        assert not spans.ended, "what the start asks is none"
        with trace.get_tracer("tests").start_as_current_span("work"):
            await db.sold.insert_many([{"_id": "secret"}, {"_id": 2}, {"_id": 3}])
            with pytest.raises(DuplicateKeyError):
                await db.sold.insert_one({"_id": "secret"})
            assert len(await db.sold.find({"_id": {"$ne": "secret"}}, batch_size=1).to_list()) == 2
            await db.command("buildInfo")
            with pytest.raises(Exception, match="no such command"):
                await db.command("secretThing", "x")
            fake.silent = {"update"}
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await db.sold.update_one({"_id": 2}, {"$set": {"word": "secret"}})
    work = spans.one("work")
    insert = spans.named("insert sold")[0]
    assert insert.kind is SpanKind.CLIENT
    assert insert.parent is not None
    assert work.context is not None
    assert insert.parent.span_id == work.context.span_id
    assert dict(insert.attributes or {}) == {
        "db.system.name": "mongodb",
        "db.namespace": "shop",
        "db.operation.name": "insert",
        "db.collection.name": "sold",
        "server.address": fake.host,
        "server.port": fake.port,
    }
    assert len(spans.named("find sold")) == 1
    assert len(spans.named("getMore sold")) >= 1
    assert spans.one("buildInfo shop").status.status_code is StatusCode.UNSET
    refused = spans.one("secretThing x")
    assert refused.status.status_code is StatusCode.ERROR
    assert (refused.attributes or {})["db.response.status_code"] == "59"
    assert (spans.one("update sold").attributes or {})["error.type"] == "asyncio.exceptions.CancelledError"
    told = "".join(span.to_json() for span in spans.ended if span is not refused)
    assert '"secret"' not in told
