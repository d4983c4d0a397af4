"""What users have for errors in tests: compared in all that is given, and what is wrong is said."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import errors
from hrpc.errors import HrpcError, StepTimeout
from hrpc.testing import assert_call_error, assert_service_error, managed
from tests.echo import call
from tests.server.hosting import Scripted, fails
from tests.server.recorded import a_server


class Broken(errors.CallError, issuer="TESTING", code=7, grpc_code=grpc.StatusCode.DATA_LOSS, message="broken"):
    """An error for these tests."""


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
