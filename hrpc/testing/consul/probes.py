"""One run of a check: https://developer.hashicorp.com/consul/docs/services/usage/checks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from hrpc.testing.consul.model import CRITICAL, PASSING, WARNING, CheckDefinition

Result = tuple[str, str]
"""The status, and the output that goes with it."""

DEFAULT_TIMEOUT = 10.0
"""Seconds for one run when the check says nothing."""

OUTPUT_LIMIT = 4096
"""Bytes of an answer that are kept (check_output_max_size)."""

_HEADERS = {"User-Agent": "Consul Health Check", "Accept": "text/plain, text/*, */*"}

Probe = Callable[[CheckDefinition, aiohttp.ClientSession], Awaitable[Result]]


async def probe(definition: CheckDefinition, session: aiohttp.ClientSession) -> Result:
    """Runs the check once, within its timeout."""
    try:
        async with asyncio.timeout(definition.timeout or DEFAULT_TIMEOUT):
            return await _PROBES[definition.type](definition, session)
    except TimeoutError:
        return CRITICAL, f"{definition.type} check: no answer within {definition.timeout or DEFAULT_TIMEOUT:g} s"


async def _http(definition: CheckDefinition, session: aiohttp.ClientSession) -> Result:
    asked = definition.probe
    method, url = asked.get("Method") or "GET", asked["HTTP"]
    try:
        async with session.request(
            method, url, data=asked.get("Body"), headers=_headers(asked), ssl=not asked.get("TLSSkipVerify", False)
        ) as answer:
            body = (await answer.content.read(OUTPUT_LIMIT)).decode(errors="replace")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return CRITICAL, f'{method} "{url}": {error}'
    output = f"HTTP {method} {url}: {answer.status} {answer.reason} Output: {body}"
    if 200 <= answer.status < 300:
        return PASSING, output
    return (WARNING if answer.status == 429 else CRITICAL), output


def _headers(asked: Mapping[str, Any]) -> list[tuple[str, str]]:
    given = asked.get("Header", {})
    replaced = {name.lower() for name in given}
    kept = [(name, value) for name, value in _HEADERS.items() if name.lower() not in replaced]
    return kept + [(name, value) for name, values in given.items() for value in values]


async def _tcp(definition: CheckDefinition, _session: aiohttp.ClientSession) -> Result:
    where = definition.probe["TCP"]
    host, _, port = where.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, ValueError, OverflowError) as error:
        return CRITICAL, f"dial tcp {where}: {error}"
    writer.close()
    return PASSING, f"TCP connect {where}: Success"


async def _grpc(definition: CheckDefinition, _session: aiohttp.ClientSession) -> Result:
    # In a thread, because grpc.aio wants one event loop per process, and that is the user's.
    import grpc
    from grpc_health.v1 import health_pb2

    asked = definition.probe
    where, _, name = asked["GRPC"].partition("/")
    channel = (
        grpc.secure_channel(where, grpc.ssl_channel_credentials())
        if asked.get("GRPCUseTLS")
        else grpc.insecure_channel(where)
    )
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    request = health_pb2.HealthCheckRequest(service=name)
    try:
        answer = await asyncio.to_thread(check, request, timeout=definition.timeout or DEFAULT_TIMEOUT)
    except grpc.RpcError as error:
        return CRITICAL, f"rpc error: {error}"
    finally:
        channel.close()
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return CRITICAL, "gRPC application didn't report service healthy"
    return PASSING, f"gRPC check {asked['GRPC']}: success"


_PROBES: dict[str, Probe] = {"http": _http, "tcp": _tcp, "grpc": _grpc}
