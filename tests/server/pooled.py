"""Pools under load, and what their database sees of them."""

from __future__ import annotations

from hrpc.testing.servers import MySQLServer

PATIENT = {"acquire_timeout": 9.0, "connect_timeout": 9.0}
"""A busy machine makes callers wait for a connection for long, which has nothing to do with what is tested."""


async def connections(server: MySQLServer) -> int:
    """How many connections of its user the server has, but for the one that asks."""
    import aiomysql

    connection = await aiomysql.connect(
        host=server.host, port=server.port, user=server.username, password=server.password
    )
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE user = %s", server.username)
        (found,) = await cursor.fetchone()
    await connection.ensure_closed()
    return int(found) - 1
