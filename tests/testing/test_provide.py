"""Values of a test in the place of databases."""

from __future__ import annotations

from typing import Any

import grpc.aio
import pytest

import hrpc
from hrpc.database import mysql
from hrpc.errors import NotRunning
from hrpc.testing import provide
from tests.echo import add_echo, call


class FakeMySQL:
    async def query_one(self, sql: str, *args: Any) -> dict[str, Any]:
        return {"sql": sql, "args": args}


async def test_handlers_get_what_the_test_provides_and_only_meanwhile() -> None:
    async def read(_: bytes, __: Any) -> bytes:
        row = await mysql.get().query_one("SELECT %s", 7)
        return repr(row).encode()

    server = hrpc.new_server(hrpc.with_server_name("faked"), hrpc.with_listen_port(0, host="127.0.0.1"))
    add_echo(server, Read=read)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        with provide(mysql, FakeMySQL()):
            assert await call(channel, "Read") == b"{'sql': 'SELECT %s', 'args': (7,)}"
        with pytest.raises(NotRunning):
            mysql.get()


def test_outside_of_a_server_there_is_nothing_to_provide_to() -> None:
    with (
        pytest.raises(NotRunning, match=r"hrpc\.testing\.provide: no hrpc server is running"),
        provide(mysql, object()),
    ):
        pass


def test_a_module_without_a_place_is_refused() -> None:
    with pytest.raises(TypeError, match=r"hrpc\.life has no place in a server"), provide(hrpc.life, object()):
        pass
