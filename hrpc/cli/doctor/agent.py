"""Consul itself: does it answer, has it a leader, which version is it, and what time does it think it is?"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from hrpc.cli.consul import with_remedy
from hrpc.cli.doctor.case import Case
from hrpc.cli.doctor.finding import Finding, ok, problem, warning
from hrpc.errors import ConsulError, ConsulPermissionDenied, ConsulUnreachable
from hrpc.option import Environment

OLDEST = (1, 8)
"""The version of Consul that hrpc is tested on; older ones may lack what it asks for."""
FAKE = "hrpc-dev"
"""The name of the node of DevConsul."""
CLOCK_SLACK, CLOCK_LIMIT = 3.0, 60.0
"""Seconds by which clocks may differ: the header counts whole ones; and from where on tokens and certificates fail."""


async def agent(case: Case) -> list[Finding]:
    """Whether Consul can be worked with."""
    if not case.wants_consul:
        return [ok("consul", "the service uses none")]
    async with case.connect() as transport:
        asked = time.time()
        try:
            leader = await transport.request("GET", "/v1/status/leader")
        except ConsulUnreachable as error:
            return [problem("consul", with_remedy(error))]
        took = time.time() - asked
        case.answers = True
        findings = [_leader(case, str(leader.body), took), clock(leader.headers, asked + took / 2)]
        findings.append(await _version(case, transport))
        if case.consul.datacenter:
            await transport.request("GET", "/v1/catalog/services", {"dc": case.consul.datacenter})
            findings.append(ok("consul", f"the datacenter {case.consul.datacenter!r} is reached"))
        return findings


def _leader(case: Case, body: str, took: float) -> Finding:
    try:
        leader = json.loads(body)
    except ValueError:
        return problem("consul", f"{case.consul.url} answers with what is not Consul's: check the address")
    if not leader:
        return problem(
            "consul",
            f"{case.consul.url} answers, and its servers have no leader: nothing can be found or stored until a "
            "majority of them is up and can talk to each other (consul operator raft list-peers)",
        )
    return ok("consul", f"{case.consul.url} answers in {took * 1000:.0f} ms; the leader is {leader}")


async def _version(case: Case, transport: Any) -> Finding:
    try:
        found = json.loads((await transport.request("GET", "/v1/agent/self")).body)["Config"]
        told, node = str(found["Version"]), str(found["NodeName"])
    except ConsulPermissionDenied:
        return ok("consul", "its version is not known: the token may not read it, which no service needs to")
    except (ConsulError, ValueError, LookupError, TypeError):
        return warning("consul", "its version is not known: /v1/agent/self is not what Consul answers")
    if node == FAKE:
        if case.settings is not None and case.settings.environment is Environment.PRODUCTION:
            return problem(
                "consul", "this is the fake of hrpc run --dev, which forgets everything: production needs a real one"
            )
        return ok("consul", f"this is the fake of hrpc run --dev, which follows Consul {told}")
    numbers = tuple(int(part) for part in re.findall(r"\d+", told)[:2])
    if numbers < OLDEST:
        return warning("consul", f"version {told} of {node} is older than {'.'.join(map(str, OLDEST))}: update it")
    return ok("consul", f"version {told}, node {node}")


def clock(headers: Mapping[str, str], now: float) -> Finding:
    """Whether the headers of an answer that came `now`, in seconds since 1970, tell the same time."""
    try:
        # The header counts whole seconds, and is half a second behind on average.
        theirs = parsedate_to_datetime(headers["Date"]).timestamp() + 0.5
    except (KeyError, ValueError):
        return warning("clock", "Consul does not say what time it is")
    off = now - theirs
    if abs(off) <= CLOCK_SLACK:
        return ok("clock", "the same as Consul's, to within seconds")
    here = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    told = f"this machine ({here}) is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} Consul's"
    say = warning if abs(off) < CLOCK_LIMIT else problem
    return say("clock", f"{told}: set both by NTP; tokens, certificates and the ages of snapshots count on it")
