"""What all guards have in common: the methods they may name, and what is measured of them."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

import hrpc
from hrpc import errors
from tests.echo import SERVICE, call
from tests.rpc.guarded import a_server, refused, serving

pytestmark = pytest.mark.usefixtures("engine")


async def nobody(_: Any) -> None: ...


@pytest.mark.parametrize(
    "option",
    [
        hrpc.with_rate_limit(methods={f"{SERVICE}/Eco": 1}),
        hrpc.with_concurrency_limit(methods={f"{SERVICE}/Eco": 1}),
        hrpc.with_auth(nobody, methods={f"{SERVICE}/Eco": None}),
    ],
)
async def test_a_guard_of_a_method_that_the_server_does_not_have_fails_the_start(option: hrpc.Option) -> None:
    server = a_server(option)
    with pytest.raises(errors.StartError, match=rf"hrpc\.{option.name}.*'test\.Echo/Eco'"):
        async with server:
            pass


async def test_the_servers_own_services_may_be_named_where_they_are_not_served() -> None:
    names = {"grpc.reflection.v1alpha.ServerReflection": None}
    async with serving(hrpc.with_auth(nobody, methods=names)) as (_, channel):
        assert await call(channel, "Echo") == b"x"


async def test_what_was_refused_and_how_late_the_event_loop_was_is_measured() -> None:
    async with serving(hrpc.with_rate_limit(0.01, burst=1), hrpc.with_metrics(0)) as (server, channel):
        await call(channel, "Echo")
        for _number in range(2):
            await refused(call(channel, "Echo"))
        url = f"http://127.0.0.1:{server.metrics_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            lines = (await answer.text()).splitlines()
    assert 'hrpc_refused_total{limit="rate"} 2.0' in lines
    assert any(line.startswith("hrpc_event_loop_lag_seconds ") for line in lines)
