"""Putting services into a Consul agent, and looking what it has, over its HTTP API and not through hrpc."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from typing import Any

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_AT_ONCE = 60
"""Operations in one transaction; Consul takes 64 (https://developer.hashicorp.com/consul/api-docs/txn)."""

TAG = "development"


def ask(address: str, method: str, path: str, body: object = None) -> Any:
    """What the agent answers; raises `OSError` where it does not."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}{path}", data, method=method)
    with _OPENER.open(request, timeout=10) as response:
        return json.loads(response.read() or b"null")


def register(address: str, name: str, port: int, number: int = 0) -> str:
    """Registers an instance without a check, which so passes it; gives its ID."""
    entry = {"ID": f"{name}-{number}", "Name": name, "Address": "127.0.0.1", "Port": port, "Tags": [TAG]}
    ask(address, "PUT", "/v1/agent/service/register", entry)
    return str(entry["ID"])


def deregister(address: str, instance: str) -> None:
    """Takes an instance out again."""
    ask(address, "PUT", f"/v1/agent/service/deregister/{instance}")


def fill(address: str, names: Sequence[str], instances: int) -> None:
    """Puts so many instances of each name into the catalogue, on a node for each."""
    for number in range(instances):
        node = {"Node": f"node-{number}", "Address": f"10.0.0.{number + 1}"}
        ask(address, "PUT", "/v1/catalog/register", node)
        entries = [_entry(name, port, node) for port, name in enumerate(names, start=10_000)]
        for first in range(0, len(entries), _AT_ONCE):
            ask(address, "PUT", "/v1/txn", entries[first : first + _AT_ONCE])


def _entry(name: str, port: int, node: dict[str, str]) -> dict[str, Any]:
    service = {
        "ID": f"{name}-{node['Node']}",
        "Service": name,
        "Address": node["Address"],
        "Port": port,
        "Tags": [TAG],
        "Meta": {"protocol": "grpc", "version": "1.4.0", "zone": "a"},
    }
    return {"Service": {"Verb": "set", "Node": node["Node"], "Service": service}}
