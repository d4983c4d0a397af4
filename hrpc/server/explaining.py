"""What a server knows of the services it calls, and of itself in Consul: the reports behind ``/debug/…``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hrpc.abc import Instance, Selection, endpoint
from hrpc.errors import ConsulError
from hrpc.server.parts import Parts
from hrpc.service.directory import Followed

if TYPE_CHECKING:
    from hrpc.consul import Client
    from hrpc.consul.listing import Listed

LISTING_LIMIT = 2.0
"""Seconds for asking Consul about those that are out; what is known without asking is told in any case."""
_AT_ONCE = 8
_WITHOUT_CONSUL = "without Consul: see hrpc.with_consul"
_ELSEWHERE = "not to be registered in Consul: a plugin announces it, or hrpc.with_registration(in_consul=False) says so"

Json = dict[str, Any]


async def discovery(parts: Parts, asked: Mapping[str, str]) -> Json:
    """The services that this server follows, with their instances, and why each is in or out.

    `asked` has the parameters of the request; with a ``service``, only that one is told of.
    """
    if parts.directory is None:
        return {"server": parts.name, "services": [], "note": _WITHOUT_CONSUL}
    wanted = asked.get("service")
    entries = [entry for entry in parts.directory.entries if wanted in (None, entry.name)]
    listings: dict[Selection, tuple[Listed, ...] | Exception] = {}
    if parts.consul is not None:
        listings = await _listings(parts.consul, [entry.selection for entry in entries])
    services = []
    for entry in entries:
        services.append(_service(parts.directory.followed(entry), listings.get(entry.selection)))
        await asyncio.sleep(0)  # of many, each takes its time, and calls are served between them
    return {
        "server": parts.name,
        "consul": None if parts.consul is None else parts.consul.address,
        "snapshot": _snapshot(parts),
        "services": services,
    }


async def discovery_of_workers(parts: Parts, asked: Mapping[str, str]) -> Json:
    """What each worker says of the services that it follows, by its number; each follows them by itself."""
    assert parts.workers is not None
    answers = await parts.workers.ask_all("discovery", dict(asked), timeout=LISTING_LIMIT + 1)
    silent = {"note": "it does not answer"}
    said = {str(number): answers.get(number, silent) for number in sorted(parts.workers.current)}
    return {"server": parts.name, "workers": said}


def _snapshot(parts: Parts) -> Json | None:
    if parts.settings.snapshot is None or parts.consul is None:
        return None
    written = parts.consul.snapshot_written
    return {
        "path": parts.settings.snapshot.path,
        "written": None if written is None else datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds"),
        "oldest_used_seconds": _rounded(parts.consul.snapshot_age()),
    }


async def registration(parts: Parts, _: Mapping[str, str]) -> Json:
    """What this server has told Consul of itself, whether it is there, and what Consul makes of it."""
    if parts.consul is None:
        return {"server": parts.name, "registered": False, "note": _WITHOUT_CONSUL}
    report = parts.consul.report()
    if not parts.settings.registers:
        return {"server": parts.name, "consul": parts.consul.address, "registered": False, "note": _ELSEWHERE}
    if report is None:
        note = f"not registered: the server is {parts.health.phase}"
        return {"server": parts.name, "consul": parts.consul.address, "registered": False, "note": note}
    entry = report.registration
    listing = (await _listings(parts.consul, [Selection(entry.name)]))[Selection(entry.name)]
    return {
        "server": parts.name,
        "consul": parts.consul.address,
        "registered": report.present,
        "missing_for_seconds": _rounded(report.missing_for),
        "last_error": report.error,
        "sent_seconds_ago": _rounded(report.put_ago),
        "sent_again": report.puts_again,
        "maintenance": report.maintenance,
        **_in_catalogue(entry.id, listing),
        "entry": {
            "id": entry.id,
            "name": entry.name,
            "address": entry.address,
            "address_from": parts.address_origin,
            "port": entry.port,
            "tagged_addresses": {name: endpoint(*where) for name, where in entry.tagged_addresses.items()},
            "weight": entry.weight,
            "tags": list(entry.tags),
            "meta": dict(entry.meta),
            "check": entry.check._asdict(),
        },
    }


def _in_catalogue(own_id: str, listing: tuple[Listed, ...] | Exception) -> Json:
    """What others see of the entry; the catalogue may be behind the agent."""
    if isinstance(listing, Exception):
        return {"health": None, "why": f"Consul cannot be asked: {listing}"}
    for found in listing:
        if found.instance.id == own_id:
            return {"health": found.health, "why": _failing(found) or "all checks pass"}
    return {"health": None, "why": "callers do not see the entry: it is not in Consul's catalogue"}


async def _listings(consul: Client, selections: Sequence[Selection]) -> dict[Selection, tuple[Listed, ...] | Exception]:
    found: dict[Selection, tuple[Listed, ...] | Exception] = {}
    turn = asyncio.Semaphore(_AT_ONCE)

    async def ask(selection: Selection) -> None:
        try:
            async with turn:
                found[selection] = await consul.listed(selection)
        except ConsulError as error:
            found[selection] = error

    asking = [asyncio.create_task(ask(selection), name="hrpc: debug") for selection in selections]
    try:
        if asking:
            await asyncio.wait(asking, timeout=LISTING_LIMIT)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    late = TimeoutError(f"no answer from Consul within {LISTING_LIMIT:g} s")
    return {selection: found.get(selection, late) for selection in selections}


def _service(followed: Followed, listing: tuple[Listed, ...] | Exception | None) -> Json:
    entry, report = followed.entry, followed.entry.report()
    selection = entry.selection
    listed = {each.instance.id: each for each in listing} if isinstance(listing, tuple) else None
    instances = [
        *(_known(instance, listed, followed, report.held_for is not None) for instance in entry.instances),
        *_left_out(selection, entry.instances, listed or {}),
    ]
    return {
        "name": selection.name,
        "tags": list(selection.tags),
        "version": selection.version,
        "datacenters": list(selection.datacenters),
        "index": report.index,
        "age_seconds": _rounded(None if report.age == math.inf else report.age),
        "last_error": report.error,
        "held_for_seconds": _rounded(report.held_for),
        "changes": report.changes,
        "instances": instances,
        "listing_error": str(listing) if isinstance(listing, Exception) else None,
    }


def _known(instance: Instance, listed: Mapping[str, Listed] | None, followed: Followed, held: bool) -> Json:
    row = followed.endpoints.get(instance.endpoint)
    why = "passes its checks"
    if held:
        why = "kept, although Consul suddenly lists none: see held_for_seconds"
    elif listed is not None and instance.id not in listed:
        why = "Consul has just taken it out of its list"
    elif listed is not None and listed[instance.id].failing:
        why = "Consul has just found it failing: " + _failing(listed[instance.id])
    told = _described(instance) | {"in": True, "state": "in", "why": why}
    if row is None:
        return told | {"why": f"{why}; no service.channel of this server uses it"}
    return told | {
        "in": row.state in ("in", "slow start"),
        "state": row.state,
        "why": f"{why}; {row.why}" if row.why else why,
        "picks": row.picks,
        "in_flight": row.in_flight,
        "failures_in_a_row": row.failures,
        "latency_seconds": round(row.latency, 6) or None,
    }


def _left_out(selection: Selection, known: Sequence[Instance], listed: Mapping[str, Listed]) -> Iterator[Json]:
    ids = {instance.id for instance in known}
    for found in listed.values():
        if found.instance.id not in ids:
            why = _failing(found) or _unwanted(selection, found.instance) or "Consul has just put it into its list"
            yield _described(found.instance) | {"in": False, "state": found.health, "why": why}


def _failing(found: Listed) -> str:
    return "; ".join(f"the check {check.name!r} is {check.status}: {check.said}" for check in found.failing)


def _unwanted(selection: Selection, instance: Instance) -> str | None:
    missing = [str(tag) for tag in selection.tags if tag not in instance.tags]
    if missing:
        return f"it passes its checks, and is left out: it has no tag {missing[0]!r}"
    if selection.version not in (None, instance.version):
        return f"it passes its checks, and is left out: its version is {instance.version!r}, not {selection.version!r}"
    return None


def _described(instance: Instance) -> Json:
    return {
        "id": instance.id,
        "endpoint": instance.endpoint,
        "weight": instance.weight,
        "version": instance.version,
        "zone": instance.zone or None,
        "datacenter": instance.datacenter,
        "tags": list(instance.tags),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
