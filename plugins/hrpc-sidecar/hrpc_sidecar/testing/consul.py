"""What the agent asks of Consul: https://developer.hashicorp.com/consul/api-docs/agent/service."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import aiohttp


class ConsulApi:
    """The agent API of one Consul, at ``host:port``. Raises `aiohttp.ClientError`."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._url = f"http://{address}/v1/agent/service"

    async def register(self, node: dict[str, Any], host: str) -> None:
        """Lists a node as an instance at `host`, with a check that connects to its port every second."""
        service = node["service"]
        entry = {
            "ID": node["app"]["instance_id"],
            "Name": service["name"],
            "Address": host,
            "Port": service["port"],
            "Tags": [node["app"]["env"]] if node["app"]["env"] else [],
            "Weights": {"Passing": service["weight"], "Warning": 1},
            "Meta": {
                "protocol": node["protocol"],
                "dns": node["dns"],
                "run-date": node["run_date"],
                "version": node["app"]["version"],
            },
            "Check": {
                "CheckID": f"service:{node['app']['instance_id']}",
                "TCP": f"{host}:{node['server_port']}",
                "Interval": "1s",
                "Timeout": "1s",
                "Status": "passing",
                "DeregisterCriticalServiceAfter": "1m",
            },
        }
        await self._put("/register?replace-existing-checks=true", entry)

    async def rotate(self, instance_id: str, *, out: bool, reason: str = "") -> None:
        """Takes an instance out of rotation, or back in."""
        await self._put(f"/maintenance/{quote(instance_id)}?enable={str(out).lower()}&reason={quote(reason)}")

    async def deregister(self, instance_id: str) -> None:
        """Takes an instance out of the list."""
        await self._put(f"/deregister/{quote(instance_id)}")

    async def _put(self, path: str, body: Any = None) -> None:
        async with self._session.put(self._url + path, json=body) as response:
            response.raise_for_status()
