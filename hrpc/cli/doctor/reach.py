"""The address that would be registered, as the agent sees it.

An agent cannot be asked what it can connect to, but it runs checks: for a few seconds a second entry of the service is
registered, whose checks go to the same ports. It is never seen by callers: it is critical all the time, because of a
further check that nobody ever answers, and has not the tag of the environment. Consul would remove it after a minute,
should the doctor die.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from hrpc.abc import endpoint
from hrpc.cli.doctor.case import Case
from hrpc.cli.doctor.finding import Finding, ok, problem, warning
from hrpc.cli.doctor.rights import write_rule
from hrpc.errors import ConsulError, ConsulPermissionDenied, OptionError
from hrpc.listener import bind
from hrpc.option import Environment

if TYPE_CHECKING:
    from hrpc.consul.transport import Transport

LIMIT = 8.0
"""Seconds until the agent must have run the checks: it begins at random within their interval of 1 s."""
_LOOK = 0.1
_CONNECT_LIMIT = 2


async def reach(case: Case) -> list[Finding]:
    """Whether the agent can connect to what would be registered."""
    from hrpc.server.address import advertised

    settings = case.server
    if not settings.registers:
        return [
            ok("address", "not tried, because Consul is not told of it: hrpc.with_registration, or a plugin, says so")
        ]
    try:
        address, origin = advertised(settings.registration.address, case.consul, settings.host)
    except OptionError as error:
        return [problem("address", str(error))]
    if case.taken and not case.runs:
        return [warning("address", f"{address}: not tried, because somebody else has the ports: free them first")]
    if case.runs and not (case.port or settings.port):
        return [warning("address", f"{address}: not tried, because the running service has not told its port")]
    async with _answered(case) as (port, health_port):
        entry = _entry(case, address, port, health_port)
        try:
            checks = await _tried(case, entry)
        except ConsulPermissionDenied:
            rule = write_rule(settings.server_name)
            return [problem("rights", f"{settings.server_name} may not be registered: add to the policy  {rule}")]
    return [
        ok("rights", f"{settings.server_name} may be registered"),
        _said(case, address, origin),
        *(_reached(each) for each in checks),
    ]


def _said(case: Case, address: str, origin: str) -> Finding:
    if address.startswith("127.") or address in ("::1", "localhost"):
        told = f"{address} (from {origin}) is registered, which only this machine reaches"
        if case.server.environment is not Environment.DEVELOPMENT:
            return warning("address", f"{told}: give another with hrpc.with_registration(address=…) or HRPC_ADVERTISE")
        return ok("address", told)
    return ok("address", f"{address} (from {origin}) is registered")


def _reached(check: dict[str, Any]) -> Finding:
    what = check["Notes"]
    if check["Status"] == "passing":
        return ok("address", f"the agent reaches {what}")
    said = str(check["Output"]).strip().partition("\n")[0] or f"no answer within {LIMIT:g} s"
    return problem(
        "address",
        f"the agent cannot reach {what} ({said[:200]}): open that port for the agent, or say which address it reaches "
        "with hrpc.with_registration(address=…) or HRPC_ADVERTISE",
    )


@asynccontextmanager
async def _answered(case: Case) -> AsyncIterator[tuple[int, int | None]]:
    """The ports of the service: its own when it runs, else answered here for as long as the context lasts."""
    settings = case.server
    if case.runs:
        yield case.port or settings.port, settings.health_port
        return
    servers = []
    try:
        for purpose, port in (("gRPC", settings.port), ("health", settings.health_port)):
            if port is not None:
                sock = bind(purpose, settings.host, port, "hrpc.with_listen_port or hrpc.with_health_check")
                servers.append(await asyncio.start_server(_answer, sock=sock))
        bound = [server.sockets[0].getsockname()[1] for server in servers]
        yield bound[0], bound[1] if len(bound) > 1 else None
    finally:
        for server in servers:
            server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass  # the check of a TCP port only connects
    finally:
        writer.close()


def _entry(case: Case, address: str, port: int, health_port: int | None) -> dict[str, Any]:
    own = f"{case.server.server_name}-doctor-{secrets.token_hex(4)}"
    often = {"Interval": "1s", "Timeout": f"{_CONNECT_LIMIT}s", "DeregisterCriticalServiceAfter": "1m"}
    grpc = endpoint(address, port)
    checks: list[dict[str, Any]] = [often | {"CheckID": f"{own}:grpc", "TCP": grpc, "Notes": f"gRPC at {grpc}"}]
    if health_port is not None and case.server.check_kind != "ttl":
        health = endpoint(address, health_port)
        checks.append(
            often | {"CheckID": f"{own}:health", "HTTP": f"http://{health}/", "Notes": f"the health port at {health}"}
        )
    out_of_rotation = {"CheckID": f"{own}:never", "TTL": "1m", "DeregisterCriticalServiceAfter": "1m"}
    checks.append(out_of_rotation | {"Notes": "keeps this entry of hrpc doctor from being called"})
    return {
        "ID": own,
        "Name": case.server.server_name,
        "Address": address,
        "Port": port,
        "Tags": ["hrpc-doctor"],
        "Checks": checks,
    }


async def _tried(case: Case, entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The checks of the ports after they have run."""
    async with case.connect() as transport:
        try:
            await transport.request("PUT", "/v1/agent/service/register", data=json.dumps(entry))
            found = await _until_run(transport, entry["ID"])
        finally:
            # Also when the doctor is interrupted.
            await asyncio.shield(asyncio.ensure_future(_forget(transport, entry["ID"])))
    return found


async def _forget(transport: Transport, service_id: str) -> None:
    # What cannot be deregistered was never registered, or is gone with the agent; else Consul removes it in a minute.
    with suppress(ConsulError):
        await transport.request("PUT", f"/v1/agent/service/deregister/{service_id}")


async def _until_run(transport: Transport, service_id: str) -> list[dict[str, Any]]:
    # Consul has no query that waits for a check at the agent, and that of the catalogue needs further rights.
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(LIMIT):
            while True:
                answer = await transport.request("GET", "/v1/agent/checks")
                every = transport.json("GET /v1/agent/checks", answer, dict).values()
                found = [
                    check
                    for check in every
                    if check["ServiceID"] == service_id and not check["CheckID"].endswith(":never")
                ]
                if found and all(check["Status"] == "passing" or check["Output"] for check in found):
                    return found
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        return found
