"""The databases and message queues: are their settings there and valid, and do they let the service in?"""

from __future__ import annotations

from hrpc.abc import Database, MessageQueue, StoredSettings
from hrpc.cli.doctor.case import Case
from hrpc.cli.doctor.finding import Finding, ok, problem
from hrpc.configs.decoding import read
from hrpc.errors import HrpcError, KeyNotExist


async def databases(case: Case) -> list[Finding]:
    """Opens each as a start does, and asks it for a sign of life."""
    return [await _examine(case, "databases", database) for database in case.server.databases]


async def message_queues(case: Case) -> list[Finding]:
    """The same; nothing is consumed."""
    return [await _examine(case, "messagequeues", queue) for queue in case.server.message_queues]


async def _examine(case: Case, kind: str, opened: Database | MessageQueue) -> Finding:
    check = "databases" if kind == "databases" else "queues"
    origin = getattr(opened, "origin", f"{opened.name}.new()")
    try:
        stored = None
        if opened.needs_settings:
            if not case.answers:
                return problem(check, f"{opened.name}: its settings are in Consul, which does not answer")
            stored = await _stored(case, f"{case.server.kv_prefix}/{kind}/{opened.name}")
            origin = f"the key {stored.key}"
        async with opened.open(stored) as it:
            await it.ping()
    except HrpcError as error:
        return problem(check, f"{opened.name}: {error}")
    return ok(check, f"{opened.name}: answers, with the settings of {origin}")


async def _stored(case: Case, key: str) -> StoredSettings:
    from hrpc.consul.queries import Queries

    async with case.connect() as transport:
        value = (await Queries(case.consul, transport).key(key))[1]
    if value is None:
        raise KeyNotExist(key)
    return StoredSettings(key, read(dict, key, value))
