"""What users have for tests of whole servers: it is pinged, told to end, and its error is given."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

import hrpc
from hrpc.errors import ManagerError, NotRunning
from hrpc.testing import assert_service_error, managed
from tests.echo import call
from tests.server.hosting import Scripted, fails
from tests.server.recorded import a_server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_managed_server_is_pinged_and_ended_by_a_signal_as_in_production(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    service = Scripted("one")
    async with managed(a_server(hrpc.with_services(service, Scripted("two")))) as manager:
        assert manager.services == ("one", "two")
        await manager.ping()
        assert await call(manager.channel, "Echo") == b"x"
        manager.send(number)
        assert await manager.ended() is None
    assert service.happened[-1] == "one release"
    assert signal.getsignal(number) == before


async def test_the_error_of_a_managed_server_is_given_once_or_raised_at_the_end() -> None:
    server = a_server(hrpc.with_services(Scripted("one", does={"run": fails})))
    async with managed(server) as manager:
        error = await manager.ended()
    assert_service_error(error, "one", "run", ZeroDivisionError)
    with pytest.raises(ManagerError):
        async with managed(server) as manager:
            await server.wait_for_shutdown()


async def test_a_signal_that_would_end_the_tests_is_not_sent() -> None:
    async with managed(a_server()) as manager:
        pass
    with pytest.raises(NotRunning, match="SIGTERM would reach no server"):
        manager.send(signal.SIGTERM)

    refused: list[NotRunning] = []

    async def elsewhere() -> None:
        async with managed(a_server()) as manager:
            try:
                manager.send(signal.SIGTERM)
            except NotRunning as error:
                refused.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert len(refused) == 1


async def test_a_server_that_does_not_end_is_told_after_the_limit() -> None:
    async with managed(a_server()) as manager:
        with pytest.raises(TimeoutError):
            await manager.ended(limit=0.05)
