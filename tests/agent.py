"""What a Consul agent says, asked over its HTTP API and not through hrpc."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
import urllib.request
from typing import Any, cast


def get(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
        return json.load(response)


def put(address: str, path: str, body: bytes = b"") -> None:
    request = urllib.request.Request(f"http://{address}{path}", body, method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


async def instances(address: str, name: str, port: int | None = None) -> list[dict[str, Any]]:
    """The instances of a service in the catalogue, whatever their health; or those on a port.

    Of a Consul that tests share, ask for a port: other tests may have killed a service of this name.
    """
    entries = cast("list[dict[str, Any]]", await asyncio.to_thread(get, address, f"/v1/health/service/{name}"))
    return [entry for entry in entries if port in (None, entry["Service"]["Port"])]


async def ids(address: str, name: str) -> set[str]:
    """The ids of the instances of a service."""
    return {entry["Service"]["ID"] for entry in await instances(address, name)}


async def store(address: str, key: str, value: str) -> None:
    """Writes a KV key."""
    await asyncio.to_thread(put, address, f"/v1/kv/{key}", value.encode())


async def delete(address: str, key: str) -> None:
    """Deletes a KV key."""
    request = urllib.request.Request(f"http://{address}/v1/kv/{key}", method="DELETE")
    await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=10).close())


async def deregister(address: str, service_id: str) -> None:
    """Deregisters behind the service's back."""
    await asyncio.to_thread(put, address, f"/v1/agent/service/deregister/{service_id}")


async def maintain(address: str, service_id: str, reason: str) -> None:
    """Takes an instance out of rotation."""
    query = urllib.parse.urlencode({"enable": "true", "reason": reason})
    await asyncio.to_thread(put, address, f"/v1/agent/service/maintenance/{service_id}?{query}")
