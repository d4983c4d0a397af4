"""The ports of the service: free, or in use by the service itself, or by somebody else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from hrpc import listener
from hrpc.abc import endpoint
from hrpc.cli.doctor.case import Case
from hrpc.cli.doctor.finding import Finding, ok, problem, warning
from hrpc.errors import BindError, PortTaken
from hrpc.option import Settings

ANSWER_LIMIT = 2.0
_LISTENS = "0A"


async def ports(case: Case) -> list[Finding]:
    """Whether each can be listened on; when not, who has it."""
    settings = case.server
    findings = []
    for purpose, port, option in _ports(settings):
        where = endpoint(settings.host, port)
        if port == 0:
            findings.append(ok("ports", f"{purpose}: any free port"))
            continue
        try:
            listener.unused(purpose, settings.host, port, option)
        except PortTaken:
            case.taken.add(port)
        except BindError as error:
            findings.append(problem("ports", str(error)))
        else:
            findings.append(ok("ports", f"{purpose}: {where} is free"))
    if case.taken:
        found = await _told_by(settings)
        case.runs = found.get("server") == settings.server_name
        case.port = found.get("entry", {}).get("port") if case.runs else None
        findings += [_taken(case, *each) for each in _ports(settings) if each[1] in case.taken]
    return findings


def _ports(settings: Settings) -> Iterator[tuple[str, int, str]]:
    yield "gRPC", settings.port, "hrpc.with_listen_port"
    if settings.health_port is not None:
        yield "health", settings.health_port, "hrpc.with_health_check"
    if settings.metrics_port is not None:
        yield "metrics", settings.metrics_port, "hrpc.with_metrics"


def _taken(case: Case, purpose: str, port: int, option: str) -> Finding:
    where = f"{endpoint(case.server.host, port)} is in use by {_holder(port)}"
    if case.runs:
        return ok("ports", f"{purpose}: {where}, where {case.server.server_name} answers: it is running")
    if case.server.health_port is None:
        return warning("ports", f"{purpose}: {where}: end it, unless it is {case.server.server_name} itself")
    return problem("ports", f"{purpose}: {where}: end it, or take another port with {option}")


async def _told_by(settings: Settings) -> dict[str, Any]:
    """What the one that has the health port tells of its registration; nothing when it is no service of hrpc's."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    headers = {"Authorization": f"Bearer {settings.debug.token}"} if settings.debug.token else {}
    url = f"http://{endpoint(host, settings.health_port or 0)}/debug/registration"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_LIMIT)) as session,
            session.get(url, headers=headers) as answer,
        ):
            found = json.loads(await answer.read())
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
        return {}
    return found if isinstance(found, dict) else {}


def _holder(port: int) -> str:
    """Who listens on a port, as far as this user may see it. Only the name of its program: arguments can be secret."""
    inodes = set(_listening(port))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = {os.readlink(file) for file in (process / "fd").iterdir()}
            if held & inodes:
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue  # another user's process, or one that has ended
    return "a process that this user cannot see"


def _listening(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTENS and int(columns[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{columns[9]}]"
