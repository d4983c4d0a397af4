"""The snapshot of a server: the file, and whose values are in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hrpc.option import Consul, Settings

if TYPE_CHECKING:
    from hrpc.consul.snapshot import Snapshot


def snapshot_of(settings: Settings, consul: Consul) -> Snapshot | None:
    """What `hrpc.with_snapshot` asks for, not yet read; None without it."""
    if settings.snapshot is None:
        return None
    from hrpc.consul.snapshot import Origin, Snapshot  # with Consul's libraries, which then are needed anyway

    places = (consul.datacenter or "", consul.namespace or "", consul.partition or "")
    origin = Origin(settings.server_name, settings.environment, settings.kv_prefix, *places)
    return Snapshot(settings.snapshot, origin)
