"""Another kind of database, made of what `hrpc.database.adapter` has, as a plugin makes it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest

import hrpc
from hrpc import configs
from hrpc.database import adapter
from hrpc.database.adapter import PASSWORD, SERVERS, Activity, Pool, PoolStats, Recipe, Settings, Slots, setting
from hrpc.errors import DatabaseUnavailable, InvalidConfig, OptionError
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.echo import add_echo, call
from tests.eventually import eventually


@dataclass(frozen=True, slots=True)
class LedgerSettings(Settings):
    address: str = setting(SERVERS)
    password: str = setting(PASSWORD, "")


class Ledger:
    """The client, on whichever pool is open."""

    def __init__(self, pool: LedgerPool) -> None:
        self.pool = pool

    async def read(self) -> str:
        if self.pool.settings.address == "away":
            raise self.pool.settings.fault(DatabaseUnavailable, "ledger away: no answer")
        return self.pool.settings.address


class LedgerPool:
    def __init__(self, settings: LedgerSettings) -> None:
        self.settings = settings
        self.client = Ledger(self)
        self.activity = Activity()

    async def ping(self) -> None:
        await self.client.read()

    def stats(self) -> PoolStats:
        return PoolStats(0, 1, 0)

    def is_unavailable(self, error: BaseException) -> bool:
        return isinstance(error, DatabaseUnavailable) and self.settings.is_own(error)

    def take_over(self, old: LedgerPool) -> None:
        self.client = old.client
        self.client.pool = self


slots: Slots[Ledger] = Slots("ledger", "hrpc.with_databases(ledger.new({}))")


def new(*, name: str | None = None, driver: str = "json", **settings: Any) -> Recipe[LedgerSettings]:
    return adapter.new_recipe(slots, name, LedgerSettings, settings, connect, driver, "hrpc-ledger")


@asynccontextmanager
async def connect(settings: LedgerSettings) -> AsyncIterator[Pool]:
    yield LedgerPool(settings)


async def read(_: bytes, __: Any) -> bytes:
    return (await slots.get(None).read()).encode()


async def test_it_has_settings_from_consul_that_are_followed_and_calls_that_say_that_it_is_away(
    consul: ConsulServer,
) -> None:
    await agent.store(consul.address, "ledgers/databases/ledger", json.dumps({"address": "a"}))
    server = hrpc.new_server(
        hrpc.with_server_name("ledgers"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(hrpc.Consul(address=consul.address, prefix="ledgers")),
        hrpc.with_databases(new(), new(name="second", address="c")),
        hrpc.with_graceful_stop(drain_delay=0),
    )
    add_echo(server, Read=read)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Read") == b"a"
        assert await slots.get("second").read() == "c"
        await configs.set("databases/ledger", json.dumps({"address": "away"}))

        async def is_away() -> bool:
            try:
                return await call(channel, "Read") == b"away"
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                return (error.details() or "").startswith("ledger is unavailable")

        await eventually(is_away)


def test_its_mistakes_are_told_as_those_of_the_others() -> None:
    with pytest.raises(OptionError, match=r"ledger\.new\(\) needs no_such_driver, .* pip install hrpc-ledger"):
        new(driver="no_such_driver")
    with pytest.raises(OptionError, match=r"ledger\.new\(\): there is no setting 'dsn'"):
        new(dsn="x")
    with pytest.raises(InvalidConfig, match=r"ledger\.new\(\): field 'password': expected a text, found a number$"):
        new(address="a", password=7)


def test_all_that_it_offers_is_there() -> None:
    assert sorted(adapter.__all__) == sorted(set(adapter.__all__))
    assert all(hasattr(adapter, name) for name in adapter.__all__)
