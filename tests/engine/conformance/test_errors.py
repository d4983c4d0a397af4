"""Errors that a handler raises for its caller arrive from either engine."""

from __future__ import annotations

import grpc.aio
import pytest
from grpc_status import rpc_status

import hrpc
from hrpc import errors
from hrpc.errors import Hop
from tests.engine.conformance.conftest import Engine
from tests.rpc.raising import KINDS, SERVICE, answer, raising_server

LONG = "größer, 50 % " * 1000


@pytest.mark.parametrize("suffix", ["", "_in_thread"])
@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_arrives_as_it_was_raised(engine: Engine, kind: str, suffix: str) -> None:
    def make() -> errors.CallError:
        return errors.Validation("50 % größer\n", retry_after=1.5, violations={"name": "is empty"})

    async with raising_server(make, engine.option) as server:
        with pytest.raises(errors.Validation) as caught:
            await answer(server.address, kind, suffix)
    error = caught.value
    assert (error.message, error.retry_after, error.violations) == ("50 % größer\n", 1.5, {"name": "is empty"})


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_that_is_too_large_arrives_cut(engine: Engine, kind: str) -> None:
    def make() -> errors.CallError:
        error = errors.Validation(LONG, violations={"name": LONG})
        error.trace = (Hop("before", "", LONG, LONG),)
        return error

    shown = hrpc.with_error_details(host=True, stack=True, context=True, source=True)
    async with raising_server(make, engine.option, shown) as server:
        with pytest.raises(errors.Validation, match="größer") as caught:
            await answer(server.address, kind)
    assert caught.value.trace[0].app_name == "before"


async def test_an_exception_has_the_details_of_its_status(engine: Engine) -> None:
    async with raising_server(lambda: KeyError("s3cret"), engine.option) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="internal error") as caught:
                await channel.unary_unary(f"/{SERVICE}/unary_unary")(b"")
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    assert "s3cret" not in str(status)
