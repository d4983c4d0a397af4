"""The databases: are their settings there and valid, and do they let the service in?"""

from __future__ import annotations

from hrpc.abc import Database, StoredSettings
from hrpc.cli.doctor.case import Case
from hrpc.cli.doctor.finding import Finding, ok, problem
from hrpc.configs.decoding import read
from hrpc.errors import HrpcError, KeyNotExist


async def databases(case: Case) -> list[Finding]:
    """Opens each as a start does, and asks it for a sign of life."""
    return [await _examine(case, database) for database in case.server.databases]


async def _examine(case: Case, database: Database) -> Finding:
    origin = getattr(database, "origin", f"{database.name}.new()")
    try:
        stored = None
        if database.needs_settings:
            if not case.answers:
                return problem("databases", f"{database.name}: its settings are in Consul, which does not answer")
            stored = await _stored(case, database)
            origin = f"the key {stored.key}"
        async with database.open(stored) as pool:
            await pool.ping()
    except HrpcError as error:
        return problem("databases", f"{database.name}: {error}")
    return ok("databases", f"{database.name}: answers, with the settings of {origin}")


async def _stored(case: Case, database: Database) -> StoredSettings:
    from hrpc.consul.queries import Queries

    key = f"{case.server.kv_prefix}/databases/{database.name}"
    async with case.connect() as transport:
        value = (await Queries(case.consul, transport).key(key))[1]
    if value is None:
        raise KeyNotExist(key)
    return StoredSettings(key, read(dict, key, value))
