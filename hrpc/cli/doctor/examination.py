"""The checks, in the order in which their findings are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, NamedTuple

from hrpc.cli.doctor.agent import agent
from hrpc.cli.doctor.case import Case
from hrpc.cli.doctor.databases import databases, message_queues
from hrpc.cli.doctor.finding import Finding, problem
from hrpc.cli.doctor.ports import ports
from hrpc.cli.doctor.reach import reach
from hrpc.cli.doctor.rights import keys, reading, token
from hrpc.cli.doctor.snapshot import snapshot
from hrpc.cli.doctor.versions import versions
from hrpc.errors import HrpcError

LIMIT = 15.0
"""Seconds for one check; what waits for something in it has a limit of its own."""

Needs = Literal["server", "consul", "token"]


class Check(NamedTuple):
    """What is looked at, and what has to be there for it: a server to examine, a Consul that answers,
    and one that knows the token."""

    subject: str
    look: Callable[[Case], Awaitable[list[Finding]]]
    needs: frozenset[Needs] = frozenset()


_SERVER: frozenset[Needs] = frozenset({"server"})
_CONSUL: frozenset[Needs] = frozenset({"consul"})
_RIGHTS: frozenset[Needs] = frozenset({"server", "consul", "token"})

CHECKS = (
    Check("versions", versions),
    Check("consul", agent),
    Check("token", token, _CONSUL),
    Check("ports", ports, _SERVER),
    Check("address", reach, _RIGHTS),
    Check("rights", reading, _RIGHTS),
    Check("rights", keys, _RIGHTS),
    Check("databases", databases, _SERVER),
    Check("queues", message_queues, _SERVER),
    Check("snapshot", snapshot, _SERVER),
)


async def examine(case: Case) -> AsyncIterator[Finding]:
    """The findings, each as soon as it is known. A check that fails is a finding, and the others go on."""
    for check in CHECKS:
        if "server" in check.needs and case.settings is None:
            continue
        if "consul" in check.needs and not case.answers:
            continue
        if "token" in check.needs and not case.token_is_known:
            continue
        try:
            async with asyncio.timeout(LIMIT):
                findings = await check.look(case)
        except HrpcError as error:
            findings = [problem(check.subject, str(error))]
        except TimeoutError:
            findings = [problem(check.subject, f"no result within {LIMIT:g} s: something does not answer")]
        for finding in findings:
            yield finding
