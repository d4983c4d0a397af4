"""One operation on a client: counted, limited in each of its phases, and its errors told."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pymongo
from pymongo.errors import PyMongoError, WaitQueueTimeoutError

from hrpc import context
from hrpc_mongodb.errors import MongoDBPoolTimeout, NoConnection, NoServer, no_server
from hrpc_mongodb.pool_events import Phase, Progress
from hrpc_mongodb.settings import MongoDBSettings

if TYPE_CHECKING:
    from hrpc_mongodb.client import Client, Connected

T = TypeVar("T")

_MARGIN = 0.1
"""Seconds after the deadline: the call ends by its own clock first, and is told so."""


async def operate(client: Client, method: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> T:
    """Runs a method of PyMongo, until the deadline of the call that it is a part of.

    Raises `PoolTimeout`, and the errors of PyMongo; where the server is away, they are `DatabaseUnavailable` as well.
    """
    connected = client._hrpc
    events, task = connected.events, asyncio.current_task()
    assert task is not None
    if task in events.operations:
        return await method(*args, **options)  # a part of one, such as the end of a cursor that is read to its end
    cancels = task.cancelling()
    connected.usage.begin()
    # PyMongo's own limit is that of the operation as a whole, within which it would wait for a server all the time.
    limit = asyncio.timeout(connected.settings.selection_timeout)
    progress = events.operations[task] = Progress(limit)
    try:
        with _until_deadline(connected.settings):
            async with limit:
                answer = await method(*args, **options)
        _heed(task, cancels)
        return answer
    except TimeoutError as error:
        if limit.expired():
            # PyMongo tells of those only that its own limit ends.
            events.activity.timeouts += progress.phase is Phase.ACQUIRE
            raise _too_late(client, progress.phase) from error
        raise
    except BaseException as error:
        _note(connected, error)
        if isinstance(error, WaitQueueTimeoutError):
            raise _nothing_free(connected, "in time (read_timeout, or the deadline of the call)") from error
        raise
    finally:
        events.operations.pop(task, None)
        events.waits_no_more()
        connected.usage.end()


async def advance(client: Client, following: Callable[[], Awaitable[T]]) -> T:
    """Runs the ``next`` of a cursor.

    Most documents are here already, so that to count and to limit it would cost more than it does itself.
    """
    task = asyncio.current_task()
    assert task is not None
    cancels = task.cancelling()
    try:
        document = await following()
        _heed(task, cancels)
        return document
    except StopAsyncIteration:
        raise
    except BaseException as error:
        _note(client._hrpc, error)
        raise


def put_around(thing: Any, name: str, run: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]) -> None:
    """Has `run` call the method of this name of a thing that only PyMongo can make."""
    method = getattr(type(thing), name)
    reference = weakref.ref(thing)  # else it would be there until cycles are collected

    async def around() -> Any:
        return await run(partial(method, reference()))

    setattr(thing, name, around)


def _heed(task: asyncio.Task[Any], cancels: int) -> None:
    """Raises the CancelledError that PyMongo has lost, when the task was asked to end more than `cancels` times.

    It writes inside ``asyncio.wait_for``, which before Python 3.12 loses a cancel that comes as the write ends:
    https://github.com/python/cpython/issues/86296.
    """
    if task.cancelling() > cancels:
        raise asyncio.CancelledError


def _note(connected: Connected, error: BaseException) -> None:
    """A command of the current task has ended so: its span ends, and the error tells of which database it is."""
    if connected.commands is not None:
        connected.commands.cut(error)
    if isinstance(error, PyMongoError):
        error.origin = connected.settings.origin  # type: ignore[attr-defined]


def _until_deadline(settings: MongoDBSettings) -> AbstractContextManager[Any]:
    call = context.current()
    remaining = None if call is None else call.time_remaining()
    # A longer one is the client's own, or what the user has set around it.
    if remaining is None or remaining + _MARGIN >= settings.read_timeout:
        return nullcontext()
    return pymongo.timeout(remaining + _MARGIN)


def _too_late(client: Client, phase: Phase) -> PyMongoError:
    connected = client._hrpc
    settings = connected.settings
    if phase is Phase.CONNECT:
        message = f"{settings.place}: no connection within {settings.connect_timeout:g} s (connect_timeout); check the "
        return settings.fault(NoConnection, message + "address, the port and the network")
    if phase is Phase.ACQUIRE:
        return _nothing_free(connected, f"within {settings.acquire_timeout:g} s (acquire_timeout)")
    servers = client.topology_description.server_descriptions().values()
    return settings.fault(NoServer, no_server(settings, [one.error for one in servers if one.error is not None]))


def _nothing_free(connected: Connected, when: str) -> MongoDBPoolTimeout:
    settings, events = connected.settings, connected.events
    return settings.fault(
        MongoDBPoolTimeout,
        f"{settings.place}: no connection was free {when}: {events.stats().used} of {settings.max_open_conns} per "
        f"server are in use{events.holders()}; raise max_open_conns, or hold connections for less long",
    )
