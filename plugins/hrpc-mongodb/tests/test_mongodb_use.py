"""What ``hrpc_mongodb.get()`` gives is PyMongo's database: on a real MongoDB where there is one."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from gridfs import AsyncGridFSBucket
from pymongo import InsertOne, ReadPreference, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

if TYPE_CHECKING:
    from conftest import OpenMongoDB


@pytest.fixture
async def db(mongodb: Any, open_mongodb: OpenMongoDB) -> AsyncIterator[Any]:
    """A database whose collection `sold` is empty."""
    database = (await open_mongodb(mongodb)).client
    await database.sold.delete_many({})
    yield database
    await database.sold.drop()


async def test_it_is_a_database_of_pymongo_with_its_collections(db: Any) -> None:
    assert isinstance(db, AsyncDatabase)
    assert isinstance(db.sold, AsyncCollection)
    assert db["sold"] == db.sold == db.get_collection("sold")
    assert (db.name, db.sold.full_name, db.sold.parts.full_name) == ("tests", "tests.sold", "tests.sold.parts")
    assert db.sold.database is db
    nearest = db.sold.with_options(read_preference=ReadPreference.NEAREST)
    assert nearest.read_preference is nearest.parts.read_preference is ReadPreference.NEAREST
    assert db.with_options(read_preference=ReadPreference.NEAREST).sold.read_preference is ReadPreference.NEAREST


async def test_documents_are_written_found_changed_counted_and_deleted(db: Any) -> None:
    await db.sold.insert_one({"_id": 1, "n": 1, "of": {"name": "tea"}})
    await db.sold.insert_many([{"_id": number, "n": number} for number in range(2, 6)])
    with pytest.raises(DuplicateKeyError):
        await db.sold.insert_one({"_id": 1})
    assert await db.sold.find_one({"of.name": "tea"}) == {"_id": 1, "n": 1, "of": {"name": "tea"}}
    assert await db.sold.find_one({"n": 100}) is None
    assert (await db.sold.update_one({"_id": 2}, {"$set": {"n": 20}, "$inc": {"m": 3}})).modified_count == 1
    assert (await db.sold.update_many({"n": {"$gte": 4}}, {"$inc": {"n": 1}})).matched_count == 3
    assert (await db.sold.update_one({"_id": 9}, {"$set": {"n": 9}}, upsert=True)).upserted_id == 9
    assert await db.sold.find_one_and_update({"_id": 2}, {"$set": {"n": 2}}) == {"_id": 2, "n": 21, "m": 3}
    assert [one["_id"] async for one in db.sold.find({"n": {"$lt": 9}}, {"n": 1}).sort("n", -1).limit(2)] == [5, 4]
    assert await db.sold.count_documents({"n": {"$in": [1, 9]}}) == 2
    assert sorted(await db.sold.distinct("n", {"_id": {"$lt": 3}})) == [1, 2]
    assert (await db.sold.delete_many({"_id": {"$ne": 1}})).deleted_count == 5
    assert await db.list_collection_names(filter={"name": "sold"}) == ["sold"]


async def test_bulk_writes_tell_each_mistake(db: Any) -> None:
    with pytest.raises(BulkWriteError) as error:
        await db.sold.bulk_write(
            [InsertOne({"_id": 1}), UpdateOne({"_id": 1}, {"$set": {"n": 2}}), InsertOne({"_id": 1})]
        )
    assert error.value.details["nInserted"] == error.value.details["nModified"] == 1
    assert error.value.details["writeErrors"][0]["index"] == 2


async def test_cursors_bring_all_batches(db: Any) -> None:
    await db.sold.insert_many([{"_id": number, "even": number % 2 == 0} for number in range(250)])
    assert len(await db.sold.find({}, batch_size=20).to_list()) == 250
    assert len([one async for one in db.sold.find({}, batch_size=20)]) == 250
    counted = await db.sold.aggregate([{"$match": {"even": True}}, {"$group": {"_id": "$even", "n": {"$sum": 1}}}])
    assert await counted.to_list() == [{"_id": True, "n": 125}]
    async with db.sold.find({}, batch_size=20) as cursor:
        assert (await cursor.next())["_id"] in range(250)
        assert len(await cursor.to_list(30)) == 30
        again = cursor.clone()
    assert len(await again.to_list()) == 250


async def test_a_transaction_is_seen_by_others_when_it_is_committed(db: Any) -> None:
    await db.sold.insert_one({"_id": 0})
    async with db.client.start_session() as session:
        async with await session.start_transaction():
            await db.sold.insert_one({"_id": 1}, session=session)
            assert await db.sold.count_documents({}, session=session) == 2
            assert await db.sold.count_documents({}) == 1
        assert await db.sold.count_documents({}) == 2
        with pytest.raises(ZeroDivisionError):
            async with await session.start_transaction():
                await db.sold.insert_one({"_id": 2}, session=session)
                _ = 1 / 0
    assert await db.sold.count_documents({}) == 2


async def test_a_collection_that_is_made_is_one_of_ours(db: Any) -> None:
    await db.drop_collection("made")
    made = await db.create_collection("made")
    assert type(made) is type(db.made)
    await made.insert_one({"_id": 1})
    assert await made.options() == {}
    assert list(await made.index_information()) == ["_id_"]
    await made.drop()


async def test_gridfs_keeps_files_in_it(db: Any) -> None:
    bucket = AsyncGridFSBucket(db, "parts", chunk_size_bytes=1000)
    number = await bucket.upload_from_stream("manual.txt", b"x" * 2500)
    async with await bucket.open_download_stream(number) as stored:
        assert (stored.filename, await stored.read()) == ("manual.txt", b"x" * 2500)
    await bucket.delete(number)
    assert await db.parts.chunks.count_documents({}) == 0


async def test_what_the_server_refuses_is_pymongos_error_with_its_code(db: Any) -> None:
    with pytest.raises(OperationFailure) as error:
        await db.command("noSuchThing")
    assert error.value.code == 59


async def test_what_is_over_is_held_by_nothing(db: Any) -> None:
    """Cursors and sessions are counted only for as long as somebody has them."""
    await db.sold.insert_many([{"_id": number} for number in range(30)])
    for _ in range(20):
        assert await db.sold.find({}, batch_size=5).next()
        async with db.client.start_session() as session:
            await db.sold.find_one({}, session=session)
    del session
    gc.collect()
    usage = db.client._hrpc.usage
    assert (usage._running, len(usage._lent)) == (0, 0)
