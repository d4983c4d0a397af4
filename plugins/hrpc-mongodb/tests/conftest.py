"""A MongoDB for the tests: a real one where there is one, else a small server of our own."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import Any

import pytest
from mongodb_fake import FakeMongoDB
from mongodb_real import RealMongoDB, real_mongodb

import hrpc_mongodb
from hrpc.testing.servers import ServerMissing, reserved_port

MakeFake = Callable[..., FakeMongoDB]
OpenMongoDB = Callable[..., Any]


@contextmanager
def _mongodb() -> Iterator[RealMongoDB | FakeMongoDB]:
    with ExitStack() as stack:
        try:
            yield stack.enter_context(real_mongodb())
        except ServerMissing:
            fake = FakeMongoDB(stack.enter_context(reserved_port()))
            fake.start()
            stack.callback(fake.kill)
            yield fake


@pytest.fixture(scope="session")
def mongodb(_shared: Any) -> RealMongoDB | FakeMongoDB:
    """The MongoDB of the whole run, real or not: use collections of your own, and leave it running."""
    server: RealMongoDB | FakeMongoDB = _shared(_mongodb)
    return server


@pytest.fixture
def make_fake() -> Iterator[MakeFake]:
    """Starts servers of our own, which a test may break: ``make_fake(users={"orders": "secret"})``."""
    with ExitStack() as stack:

        def make(**options: Any) -> FakeMongoDB:
            fake = FakeMongoDB(stack.enter_context(reserved_port()), **options)
            fake.start()
            stack.callback(fake.kill)
            return fake

        yield make


@pytest.fixture
def sockets_left() -> Iterator[None]:
    """PyMongo leaves it to the interpreter to close a socket whose connecting is cancelled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture
async def open_mongodb() -> AsyncIterator[OpenMongoDB]:
    """Opens a database on a server with further settings, and gives the pool."""
    async with AsyncExitStack() as stack:

        async def open_(server: Any, **more: Any) -> Any:
            options = {"address": server.host, "port": server.port, "dbname": "tests"} | more
            return await stack.enter_async_context(hrpc_mongodb.new(**options).open(None))

        yield open_
