"""What users have for tests of servers with hosted services."""

from __future__ import annotations

import asyncio
import signal
import threading

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import errors
from hrpc.errors import HrpcError, ManagerError, NotRunning, StepTimeout
from hrpc.testing import assert_call_error, assert_service_error, managed
from tests.echo import call
from tests.server.hosting import Scripted, fails
from tests.server.recorded import a_server


class Broken(errors.CallError, issuer="TESTING", code=7, grpc_code=grpc.StatusCode.DATA_LOSS, message="broken"):
    """An error for these tests."""


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


async def test_an_error_of_a_call_is_compared_in_all_that_is_given() -> None:
    async def breaks(*_: object) -> bytes:
        raise Broken("it fell") from KeyError("x")

    async with managed(a_server(hrpc.with_error_details(source=True), Breaks=breaks)) as manager:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(manager.channel, "Breaks")
    assert caught.value.code() == grpc.StatusCode.DATA_LOSS
    error = Broken("it fell").received(errors.Hop("shop"))
    same = assert_call_error(
        error,
        Broken,
        message="it fell",
        issuer="TESTING",
        code=7,
        name="Broken",
        grpc_code=grpc.StatusCode.DATA_LOSS,
        trace=["shop"],
    )
    assert same is error


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"message": "fell"}, "message is 'broken' and not 'fell'"),
        ({"code": 8, "issuer": "SHOP"}, "issuer is 'TESTING' and not 'SHOP'; error_code is 7 and not 8"),
        ({"trace": ["a"]}, r"its trace is \[\] and not \['a'\]"),
        ({"source": "KeyError"}, "source_type is '' and not 'KeyError'"),
    ],
)
def test_what_is_wrong_with_an_error_of_a_call_is_said(given: dict[str, object], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        assert_call_error(Broken(), Broken, **given)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="expected Broken, found KeyError"):
        assert_call_error(KeyError(), Broken)


async def test_what_is_wrong_with_an_error_of_a_service_is_said() -> None:
    async with managed(a_server(hrpc.with_services(Scripted("one", does={"run": fails})))) as manager:
        error = await manager.ended()
    with pytest.raises(AssertionError, match=r"service 'one' failed with ZeroDivisionError\(\), and not StepTimeout"):
        assert_service_error(error, "one", "run", StepTimeout)
    with pytest.raises(AssertionError, match="expected an error of service 'two' at its setup, found: run failed"):
        assert_service_error(error, "two", "setup", ZeroDivisionError)
    with pytest.raises(AssertionError, match="expected a ManagerError, found None"):
        assert_service_error(None, "two", "setup", HrpcError)
