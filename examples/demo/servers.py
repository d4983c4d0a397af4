"""Consul, MySQL and Redis for the demo, as far as this machine has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from loguru import logger

from examples.demo import consul, screen
from examples.demo.interrupts import Interrupts
from hrpc.testing import DevConsul
from hrpc.testing.servers import (
    Server,
    ServerMissing,
    consul_server,
    mysql_server,
    redis_server,
)

S = TypeVar("S")


@dataclass
class Servers:
    """What there is. `missing` says why there are no databases, in a line for each."""

    consul: str
    missing: list[str]


def start(stack: ExitStack, interrupts: Interrupts) -> Servers:
    """Starts what this machine has, says so, and stores the settings of the databases in Consul KV."""
    address = _consul(stack)
    missing: list[str] = []
    for start_one in (_mysql, _redis):
        interrupts.check()
        try:
            start_one(stack, address)
        except ServerMissing as error:
            missing.append(str(error))
    return Servers(address, missing)


def _consul(stack: ExitStack) -> str:
    try:
        server = stack.enter_context(_announced("Consul", consul_server()))
    except ServerMissing as error:
        # Its line in the log says what our row says.
        logger.disable("hrpc.testing.consul")
        address = stack.enter_context(_announced("Consul", DevConsul.in_thread())).address
        screen.row("Consul", address, "hrpc's own fake agent")
        screen.note(str(error))
        return address
    return _shown(server)


def _mysql(stack: ExitStack, address: str) -> None:
    mysql = stack.enter_context(_announced("MySQL", mysql_server()))
    _shown(mysql)
    consul.put(address, "development/databases/mysql", mysql.settings)


def _redis(stack: ExitStack, address: str) -> None:
    redis = stack.enter_context(_announced("Redis", redis_server()))
    _shown(redis)
    consul.put(address, "development/databases/redis", redis.settings)


def _shown(server: Server) -> str:
    screen.row(server.name, server.address, server.source)
    return server.address


@contextmanager
def _announced(name: str, manager: AbstractContextManager[S]) -> Iterator[S]:
    """Says at the end that it has ended, if it had begun."""
    with ExitStack() as stack:
        server = stack.enter_context(manager)
        try:
            yield server
        finally:
            stack.close()
            screen.row(name, "ended")
