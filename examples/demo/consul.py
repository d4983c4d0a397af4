"""What the demo asks of Consul."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

_WAIT = 2
"""Seconds after which a question comes back unanswered, so that a service that died is noticed."""

# A proxy that the environment names is for other machines.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def put(consul: str, key: str, values: dict[str, Any]) -> None:
    """Stores a JSON object in Consul KV."""
    request = urllib.request.Request(f"http://{consul}/v1/kv/{key}", json.dumps(values).encode(), method="PUT")
    _OPENER.open(request, timeout=10).close()


def get(url: str) -> Any:
    """The JSON at a URL."""
    with _OPENER.open(url, timeout=10) as answer:
        return json.load(answer)


def wait_for_instances(consul: str, name: str, count: int, check: Callable[[], None]) -> list[dict[str, Any]]:
    """Waits until `count` instances of a service pass their checks; `check` is called meanwhile, to raise.

    A blocking query, which Consul answers at the moment of a change:
    https://developer.hashicorp.com/consul/api-docs/features/blocking.
    """
    index = "0"
    while True:
        check()
        url = f"http://{consul}/v1/health/service/{name}?passing&index={index}&wait={_WAIT}s"
        with _OPENER.open(url, timeout=_WAIT + 10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
            index = answer.headers["X-Consul-Index"]
        if len(found) == count:
            return found
