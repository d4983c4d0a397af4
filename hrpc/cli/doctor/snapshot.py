"""The snapshot: could a start go on with it while Consul is away?"""

from __future__ import annotations

from hrpc.cli.doctor.case import Case
from hrpc.cli.doctor.finding import Finding, ok, problem, warning
from hrpc.errors import OptionError
from hrpc.server.snapshot import snapshot_of


async def snapshot(case: Case) -> list[Finding]:
    """Whether the file can be made, and what is in it."""
    found = snapshot_of(case.server, case.consul)
    if found is None or not case.wants_consul:
        return []
    try:
        await found.load()
    except OptionError as error:
        return [problem("snapshot", str(error))]
    if found.problem is not None:
        return [warning("snapshot", f"{found.path}: {found.problem}: the service writes one when it runs with Consul")]
    if not found.usable:
        return [warning("snapshot", f"{found.path}: nothing in it is young enough: the service writes a new one")]
    return [ok("snapshot", f"{found.path}: {found.about()}")]
