"""Reading a request and answering it: blocking, consistency, JSON.

https://developer.hashicorp.com/consul/api-docs/features/blocking and …/features/consistency
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from hrpc.testing.consul.changes import Changes
from hrpc.testing.consul.duration import parse_duration
from hrpc.testing.consul.filter import compile_filter
from hrpc.testing.consul.filter_fields import Kind
from hrpc.testing.consul.rejected import Rejected

DEFAULT_WAIT = 300.0
"""Seconds that a blocking query waits when it does not say."""

LONGEST_WAIT = 600.0
"""Seconds that a blocking query waits at most."""


async def until_newer(request: web.Request, changes: Changes, index: Callable[[], int]) -> None:
    """Holds the request while `index` is not above its ``?index``, for its ``?wait`` at most.

    Raises `Rejected` for parameters that cannot be read.
    """
    if "stale" in request.query and "consistent" in request.query:
        raise Rejected(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")
    limit = wait_of(request)
    known = _number(request.query.get("index") or "0")
    if known is None:
        raise Rejected(400, "Invalid index")
    if known > 0:
        await changes.wait(lambda: index() > known, limit)


def wait_of(request: web.Request) -> float:
    """Seconds of ``?wait``; raises `Rejected` when it is not a duration."""
    given = request.query.get("wait")
    if not given:
        return DEFAULT_WAIT
    try:
        wait = parse_duration(given)
    except ValueError as error:
        raise Rejected(400, "Invalid wait time") from error
    return min(wait, LONGEST_WAIT) if wait > 0 else DEFAULT_WAIT


def unsigned(text: str) -> int:
    """The number of a ``?cas`` or ``?flags``; raises `Rejected` when it is none."""
    number = _number(text)
    if number is None:
        raise Rejected(500, f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return number


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def filtered(request: web.Request, items: Iterable[Any], fields: Mapping[str, Kind]) -> list[Any]:
    """The items that match ``?filter``; raises `Rejected` for an expression that cannot be evaluated."""
    matches = compile_filter(request.query.get("filter", ""), fields)
    return [item for item in items if matches(item)]


def answer(value: Any, index: int | None = None, status: int = 200) -> web.Response:
    """A JSON answer; with the headers of a consistent read when it has an index."""
    body = (json.dumps(value) + "\n").encode()
    return web.Response(body=body, status=status, content_type="application/json", headers=index_headers(index))


def index_headers(index: int | None) -> dict[str, str]:
    """The headers of an answer that comes from the leader."""
    if index is None:
        return {}
    return {"X-Consul-Index": str(index), "X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}
