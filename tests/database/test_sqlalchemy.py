"""SQLAlchemy on the pool of MySQL."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from hrpc._runtime import Runtime
from hrpc.database import mysql, sqlalchemy
from hrpc.errors import DatabaseUnavailable, NotRunning, PoolTimeout
from tests.database.conftest import Open
from tests.eventually import eventually


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "adapter_numbers"
    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(unique=True)


class Opened:
    """A pool in a running server, and the engine on it."""

    def __init__(self, pool: Any, engine: AsyncEngine) -> None:
        self.pool = pool
        self.engine = engine


@pytest.fixture
async def opened(open_mysql: Open, table: str) -> AsyncIterator[Opened]:
    pool, runtime = await open_mysql(max_open_conns=2, acquire_timeout=0.2), Runtime("orders")
    with runtime.attached(), runtime.provide(mysql.slot, pool.client):
        yield Opened(pool, sqlalchemy.engine())
        assert pool.stats().used == 0, "everything is given back"


def test_asking_for_the_module_imports_no_sqlalchemy() -> None:
    """It is imported when the first engine is asked for."""
    program = "import sys; from hrpc.database import sqlalchemy; print('sqlalchemy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


async def test_outside_of_a_server_there_is_no_engine() -> None:
    """As with mysql.get()."""
    with pytest.raises(NotRunning, match=r"mysql\.new\(name=\"reports\"\)"):
        sqlalchemy.engine("reports")


async def test_a_session_commits_and_rolls_back(opened: Opened) -> None:
    """What it flushes is seen by others when it commits, and never after a rollback; there is one engine."""
    assert sqlalchemy.engine() is opened.engine
    async with AsyncSession(opened.engine) as session:
        async with session.begin():
            session.add_all([Order(n=1), Order(n=2)])
            await session.flush()
            assert await opened.pool.client.query("SELECT n FROM adapter_numbers") == []
        with pytest.raises(ZeroDivisionError):
            async with session.begin():
                session.add(Order(n=3))
                await session.flush()
                raise ZeroDivisionError
        found = await session.scalars(sa.select(Order.n).order_by(Order.n))
        assert list(found) == [1, 2]
    async with AsyncSession(opened.engine) as session:
        session.add(Order(n=4))
        await session.flush()
    assert await opened.pool.client.query("SELECT n FROM adapter_numbers ORDER BY n") == [{"n": 1}, {"n": 2}]


async def test_it_uses_the_connections_of_the_pool_and_they_stay_clean(opened: Opened) -> None:
    """One connection serves both, one after the other; errors of statements cost none."""
    before = await opened.pool.client.query_one("SELECT CONNECTION_ID() AS id")
    for _ in range(3):
        async with opened.engine.connect() as connection:
            assert await connection.scalar(sa.text("SELECT CONNECTION_ID()")) == before["id"]
            with pytest.raises(IntegrityError):
                await connection.execute(sa.text("INSERT INTO adapter_numbers (n) VALUES (1), (1)"))
    assert await opened.pool.client.query_one("SELECT CONNECTION_ID() AS id") == before
    assert dict(opened.pool.activity.closed) == {}


async def test_rows_that_were_found_count_also_when_they_are_as_before(opened: Opened) -> None:
    """The ORM takes an UPDATE that changes no row for a row that is gone."""
    async with opened.engine.begin() as connection:
        await connection.execute(sa.insert(Order), [{"n": 1}, {"n": 2}])
    async with opened.engine.begin() as connection:
        assert (await connection.execute(sa.update(Order).values(n=Order.n))).rowcount == 2
    async with AsyncSession(opened.engine) as session:
        order = (await session.scalars(sa.select(Order).where(Order.n == 1))).one()
        await session.execute(sa.text("DELETE FROM adapter_numbers"))
        order.n = 5
        with pytest.raises(StaleDataError):
            await session.flush()


async def test_a_changed_session_or_isolation_ends_with_its_connection(opened: Opened) -> None:
    """Nobody else finds it."""
    async with opened.engine.connect() as connection:
        await connection.execute(sa.text("SET @leak = 1"))
        assert await connection.scalar(sa.text("SELECT @leak")) == 1
    serial = opened.engine.execution_options(isolation_level="SERIALIZABLE")
    async with serial.connect() as connection:
        assert await connection.scalar(sa.text("SELECT @@tx_isolation")) == "SERIALIZABLE"
    row = await opened.pool.client.query_one("SELECT @leak AS leak, @@tx_isolation AS level")
    assert row == {"leak": None, "level": "REPEATABLE-READ"}
    alone = opened.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with alone.connect() as connection:
        await connection.execute(sa.insert(Order), [{"n": 7}])
        assert await opened.pool.client.query("SELECT n FROM adapter_numbers") == [{"n": 7}]


async def test_a_stream_that_is_left_does_not_shift_answers(opened: Opened) -> None:
    """What was not read goes with its connection."""
    async with opened.engine.begin() as connection:
        await connection.execute(sa.insert(Order), [{"n": n} for n in range(500)])
    async with opened.engine.connect() as connection:
        stream = await connection.stream(sa.select(Order.n))
        assert (await stream.fetchone()) is not None
        await stream.close()
    async with opened.engine.connect() as connection:
        stream = await connection.stream(sa.select(Order.n).order_by(Order.n))
        assert [n async for (n,) in stream] == list(range(500))
    assert await opened.pool.client.query_one("SELECT 7 AS n") == {"n": 7}


async def test_a_cancelled_statement_costs_its_connection_and_nothing_else(opened: Opened) -> None:
    """As with mysql.get(): what is not answered is nobody's."""

    async def slow() -> None:
        async with opened.engine.connect() as connection:
            await connection.execute(sa.text("SELECT SLEEP(30)"))

    running = [asyncio.create_task(slow()) for _ in range(2)]

    async def both_asked() -> bool:
        return [connection.busy for connection in opened.pool._used] == [True, True]

    await eventually(both_asked)
    with pytest.raises(PoolTimeout, match=r"2 of 2 are in use, held by .*slow for"):
        await slow()
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    async with opened.engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT 1")) == 1
    assert opened.pool.activity.closed["cancelled"] == 2


async def test_a_killed_connection_is_an_error_that_says_so(opened: Opened, open_mysql: Open) -> None:
    """It is SQLAlchemy's error, and callers are told that the database is unavailable."""
    other = (await open_mysql()).client
    with pytest.raises(OperationalError) as error:
        async with opened.engine.connect() as connection:
            number = await connection.scalar(sa.text("SELECT CONNECTION_ID()"))
            await other.execute("KILL %s", number)
            await connection.execute(sa.text("SELECT 1"))
    assert error.value.connection_invalidated
    assert opened.pool.is_unavailable(error.value)
    with pytest.raises(IntegrityError) as wrong:
        async with opened.engine.begin() as connection:
            await connection.execute(sa.text("INSERT INTO adapter_numbers (n) VALUES (1), (1)"))
    assert not opened.pool.is_unavailable(wrong.value)


async def test_it_follows_the_pool_that_takes_the_place_of_another(opened: Opened, open_mysql: Open) -> None:
    """Changed settings reach it as they reach mysql.get(); a closed pool refuses it."""
    new = await open_mysql(dbname="information_schema")
    new.take_over(opened.pool)
    async with sqlalchemy.engine().connect() as connection:
        assert await connection.scalar(sa.text("SELECT DATABASE()")) == "information_schema"
    await new.close()
    with pytest.raises(DatabaseUnavailable, match="the pool is closed"):
        async with opened.engine.connect():
            pass
