"""A MongoDB that is away, refuses, falls silent, dies or loses its primary: on the tests' own server."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mongodb_fake import FakeMongoDB
from pymongo import timeout
from pymongo.errors import ConnectionFailure, PyMongoError, WaitQueueTimeoutError

import hrpc_mongodb
from hrpc import background_context
from hrpc.errors import DatabaseRefused, DatabaseUnavailable, PoolTimeout
from tests.authority import Authority
from tests.eventually import eventually

if TYPE_CHECKING:
    from conftest import MakeFake, OpenMongoDB

USERS = {"orders": "s3cret"}
LOGIN = {"username": "orders", "password": "s3cret"}


async def refused(kind: type[Exception], port: int, **settings: Any) -> str:
    """What the error of opening says."""
    options = {"address": "127.0.0.1", "port": port, "dbname": "shop", "selection_timeout": 0.3} | settings
    with pytest.raises(kind) as error:
        async with hrpc_mongodb.new(**options).open(None):  # type: ignore[arg-type]
            pass
    assert "s3cret" not in str(error.value)
    assert "wr0ng" not in str(error.value)
    return str(error.value)


async def test_a_server_that_is_not_there_is_told_with_its_place(free_port: int) -> None:
    message = await refused(DatabaseUnavailable, free_port, **LOGIN)
    assert message.startswith(f"mongodb 127.0.0.1:{free_port}/shop: no server for it was found within 0.3 s")
    assert "Connect call failed" in message
    assert message.endswith("check that the server runs, address and port")
    assert "Topology" not in message


async def test_a_wrong_login_is_refused_with_what_to_check(make_fake: MakeFake) -> None:
    port = make_fake(users=USERS).port
    message = await refused(DatabaseRefused, port, username="orders", password="wr0ng")
    assert (
        "user 'orders' is not let in: Authentication failed; check 'username', 'password' and 'auth_source'" in message
    )
    message = await refused(DatabaseRefused, port, username="nobody", password="wr0ng")
    assert "user 'nobody' is not let in" in message
    message = await refused(DatabaseRefused, port)
    assert "the server wants a login" in message
    assert "give 'username' and 'password' in mongodb.new()" in message


async def test_a_login_opens_the_database_and_the_password_is_in_no_repr(
    make_fake: MakeFake, open_mongodb: OpenMongoDB
) -> None:
    pool = await open_mongodb(make_fake(users=USERS), **LOGIN)
    await pool.client.sold.insert_one({"_id": 1})
    assert "s3cret" not in f"{pool.client!r} {pool.client.sold!r} {pool.client.client!r} {pool.client.client.options!r}"


async def test_a_server_of_another_kind_is_told(free_port: int) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n" * 40)
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", free_port):
        assert f"mongodb 127.0.0.1:{free_port}/shop:" in await refused(DatabaseUnavailable, free_port)


async def test_a_server_that_dies_is_unavailable_until_it_is_back(
    make_fake: MakeFake, open_mongodb: OpenMongoDB
) -> None:
    server = make_fake()
    pool = await open_mongodb(server, selection_timeout=1.0)
    await pool.client.sold.insert_one({"_id": 1})
    server.kill()
    for operate in (lambda: pool.client.sold.find_one({}), pool.client.sold.find({}).next):
        with pytest.raises(ConnectionFailure) as error:
            await operate()
        assert pool.is_unavailable(error.value)
        assert getattr(error.value, "origin", None) == "mongodb.new()"
    with pytest.raises(DatabaseUnavailable, match="check that the server runs"):
        await pool.ping()
    server.start()

    async def is_back() -> bool:
        try:
            return await pool.client.sold.find_one({}) == {"_id": 1}
        except PyMongoError:
            return False

    await eventually(is_back)
    await pool.ping()
    assert pool.activity.closed["failover"] + pool.activity.closed["lost"] >= 1
    assert pool.stats().used == pool.stats().waiting == 0


async def test_a_silent_server_is_given_up_and_was_told_when(make_fake: MakeFake, open_mongodb: OpenMongoDB) -> None:
    server = make_fake()
    pool = await open_mongodb(server, read_timeout=1.0)
    server.silent = {"find", "insert"}
    for operate in (lambda: pool.client.sold.find_one({}), lambda: pool.client.sold.insert_one({})):
        began = time.monotonic()
        with pytest.raises(PyMongoError) as error:
            await operate()
        assert error.value.timeout
        assert pool.is_unavailable(error.value)
        assert time.monotonic() - began < 9, "which is less than usual"
        assert 0 < server.commands[-1]["maxTimeMS"] <= 1000


async def test_the_deadline_of_a_call_bounds_an_operation_and_the_server_is_told(
    make_fake: MakeFake, open_mongodb: OpenMongoDB
) -> None:
    server = make_fake()
    db = (await open_mongodb(server)).client
    await db.sold.insert_many([{"_id": number} for number in range(9)])
    with background_context(8.0):
        await db.sold.find_one({})
        await db.sold.find({}, batch_size=2).to_list()
        assert [one async for one in db.sold.find({})]
        await db.sold.update_one({}, {"$set": {"n": 1}})
    limited = [one for one in server.commands if next(iter(one)) in ("find", "update")]
    assert all(0 < one["maxTimeMS"] <= 8100 for one in limited), limited
    server.commands.clear()
    with background_context(60.0):
        await db.sold.find_one({})
    assert 9000 < server.commands[-1]["maxTimeMS"] <= 10_000, "never longer than `read_timeout`"
    with timeout(60):
        await db.sold.find_one({})
    assert server.commands[-1]["maxTimeMS"] > 50_000, "but as the user asks for"


@pytest.mark.usefixtures("sockets_left")
async def test_a_connection_that_is_not_made_in_time_is_told(make_fake: MakeFake, open_mongodb: OpenMongoDB) -> None:
    server = make_fake(users=USERS)
    pool = await open_mongodb(server, connect_timeout=1.0, **LOGIN)
    server.silent = {"saslContinue"}
    server.cut()

    async def is_slow() -> bool:
        try:
            await pool.client.sold.find_one({})
        except PyMongoError as error:
            assert pool.is_unavailable(error)
            return isinstance(error, DatabaseUnavailable) and "no connection within 1 s (connect_timeout)" in str(error)
        return False

    await eventually(is_slow)
    assert pool.activity.failed["timeout"] >= 1
    assert pool.stats() == (0, 0, 0)


async def test_a_full_pool_is_given_up_after_its_own_limit(make_fake: MakeFake, open_mongodb: OpenMongoDB) -> None:
    server = make_fake()
    pool = await open_mongodb(server, max_open_conns=1, acquire_timeout=0.2)
    server.silent = {"update"}
    running = asyncio.create_task(pool.client.sold.update_one({}, {"$set": {"n": 1}}))

    async def is_full() -> bool:
        return bool(pool.stats().used == 1)

    await eventually(is_full)
    with pytest.raises(
        PoolTimeout, match=r"no connection was free within 0\.2 s \(acquire_timeout\): 1 of 1 per server"
    ):
        await pool.client.sold.find_one({})
    assert (pool.activity.timeouts, pool.stats().waiting) == (1, 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_full_pool_tells_who_has_the_connections(make_fake: MakeFake, open_mongodb: OpenMongoDB) -> None:
    server = make_fake()
    pool = await open_mongodb(server, max_open_conns=2)
    server.silent = {"update"}

    async def nightly_export() -> None:
        await pool.client.sold.update_one({}, {"$set": {"n": 1}})

    running = [asyncio.create_task(nightly_export()) for _ in range(2)]

    async def is_full() -> bool:
        return bool(pool.stats().used == 2)

    await eventually(is_full)
    with pytest.raises(PoolTimeout, match=r"2 of 2 per server are in use, held by .*nightly_export for") as error:
        with background_context(0.5):
            await pool.client.sold.find_one({})
    assert isinstance(error.value, WaitQueueTimeoutError)
    assert pool.is_unavailable(error.value)
    assert (pool.activity.timeouts, pool.stats().waiting) == (1, 0)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    server.silent = set()
    await pool.client.sold.find_one({})
    assert pool.stats().used == 0
    assert pool.activity.closed["cancelled"] == 2


@pytest.mark.usefixtures("sockets_left")
async def test_cancelled_operations_leave_no_wrong_answer_and_no_connection_behind(
    make_fake: MakeFake, open_mongodb: OpenMongoDB
) -> None:
    server = make_fake()
    pool = await open_mongodb(server, max_open_conns=4)
    db = pool.client
    await db.sold.insert_many([{"_id": number} for number in range(50)])
    cancelled = 0

    async def look(number: int) -> None:
        nonlocal cancelled
        try:
            async with asyncio.timeout(0.0004 * (number % 12)):
                assert await db.sold.find_one({"_id": number}) == {"_id": number}
        except TimeoutError:
            cancelled += 1

    for _ in range(12):
        await asyncio.gather(*(look(number) for number in range(50)))
    assert cancelled
    assert await asyncio.gather(*(db.sold.find_one({"_id": number}) for number in range(50)))
    assert pool.stats().used == pool.stats().waiting == 0


@pytest.mark.usefixtures("sockets_left")
async def test_who_is_cancelled_at_any_moment_ends(make_fake: MakeFake, open_mongodb: OpenMongoDB) -> None:
    """Also where PyMongo loses the cancel, which before Python 3.12 it does each few times."""
    pool = await open_mongodb(make_fake())
    db = pool.client
    await db.sold.insert_many([{"_id": number} for number in range(20)])

    async def work() -> None:
        while True:
            await db.sold.update_one({"_id": 1}, {"$inc": {"n": 1}})
            assert len([one async for one in db.sold.find({}, batch_size=7)]) == 20
            assert len([one async for one in await db.sold.aggregate([{"$match": {}}], batchSize=7)]) == 20
            async with db.client.start_session() as session, await session.start_transaction():
                await db.sold.find_one({"_id": 2}, session=session)

    for number in range(25):
        tasks = [asyncio.create_task(work()) for _ in range(8)]
        await asyncio.sleep(0.02 + 0.001 * number)
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(60):
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(one) for one in ended} == {asyncio.CancelledError}, ended

    async def is_idle() -> bool:
        # A cancel may take a wake-up along (https://github.com/python/cpython/issues/112202): the next use wakes again.
        await db.sold.find_one({"_id": 1})
        return pool.stats().used == pool.stats().waiting == 0

    await eventually(is_idle)  # PyMongo itself ends, in a task of its own, the cursors that nobody reads to their end


async def test_writes_go_to_the_new_primary_of_a_replica_set(make_fake: MakeFake, open_mongodb: OpenMongoDB) -> None:
    first = make_fake()
    second = make_fake(store=first.store)
    members = [first.address, second.address]
    first.members = second.members = members
    pool = await open_mongodb(first, address=f"{first.address},{second.address}", replica_set="rs0")
    await pool.client.sold.insert_one({"_id": 1})
    first.members = second.members = members[::-1]
    first.cut()

    async def is_written() -> bool:
        try:
            await pool.client.sold.update_one({"_id": 1}, {"$inc": {"n": 1}})
            return any(next(iter(one)) == "update" for one in second.commands)
        except PyMongoError as error:
            assert pool.is_unavailable(error)
            return False

    await eventually(is_written)
    await pool.ping()


async def test_a_server_of_another_replica_set_is_not_used(make_fake: MakeFake) -> None:
    server = make_fake()
    server.members = [server.address]
    message = await refused(DatabaseUnavailable, server.port, replica_set="other")
    assert message.endswith(
        "check that the server runs, address and port, 'replica_set', and that the set has a primary"
    )


def _served_by(authority: Authority, folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.path))
    context.load_cert_chain(*authority.write(folder, "mongodb"))
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


async def test_tls_is_spoken_with_a_certificate_and_without_trust_nothing_is_said(
    make_fake: MakeFake, open_mongodb: OpenMongoDB, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    server = make_fake(users=USERS, tls=_served_by(authority, tmp_path / "server"))
    own = tmp_path / "own.pem"
    own.write_bytes(b"".join(authority.sign("orders")))
    pool = await open_mongodb(server, tls_ca=str(authority.path), tls_cert=str(own), **LOGIN)
    await pool.client.sold.insert_one({"_id": 1})
    (tmp_path / "others").mkdir()
    other = Authority(tmp_path / "others")
    message = await refused(DatabaseRefused, server.port, tls_ca=str(other.path), **LOGIN)
    assert "TLS failed" in message
    assert "check 'tls_ca' in mongodb.new(), and the server's certificate" in message
    message = await refused(DatabaseRefused, server.port, tls_ca=str(tmp_path / "nowhere.pem"), **LOGIN)
    assert "nowhere.pem" in message or "No such file" in message
    assert "check 'tls_ca' and 'tls_cert' in mongodb.new()" in message


async def test_a_server_without_tls_is_refused_before_anything_of_the_login_is_sent(make_fake: MakeFake) -> None:
    server: FakeMongoDB = make_fake(users=USERS)
    with pytest.raises((DatabaseRefused, DatabaseUnavailable)):
        async with hrpc_mongodb.new(
            address="127.0.0.1", port=server.port, dbname="shop", tls=True, selection_timeout=0.3, **LOGIN
        ).open(None):
            pass
    assert server.logins == 0
