"""A server that is probed, and what it answers."""

from __future__ import annotations

from typing import Any

import aiohttp

import hrpc
from tests.echo import add_echo


def a_server(*options: hrpc.Option, host: str = "127.0.0.1") -> hrpc.Server:
    local = hrpc.with_listen_port(0, host)
    server = hrpc.new_server(hrpc.with_server_name("probed"), local, hrpc.with_health_check(0), *options)
    add_echo(server)
    return server


async def get(server: hrpc.Server, path: str) -> tuple[int, Any]:
    """The status, and the body as text or from JSON."""
    return await _ask("GET", server, path)


async def post(server: hrpc.Server, path: str, host: str = "127.0.0.1", **headers: str) -> tuple[int, Any]:
    """The status, and the body from JSON."""
    return await _ask("POST", server, path, host, **headers)


async def _ask(method: str, server: hrpc.Server, path: str, host: str = "127.0.0.1", **headers: str) -> tuple[int, Any]:
    url = f"http://{host}:{server.health_port}{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.text()


async def parts(server: hrpc.Server, kind: str = "readiness") -> dict[str, str]:
    """What the probe of a kind says of each part."""
    found: dict[str, str] = (await get(server, f"/healthx/{kind}"))[1]["parts"]
    return found
