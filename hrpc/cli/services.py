"""``hrpc services``: what Consul lists, as a table or as JSON, once or for as long as one looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hrpc.cli.consul import ask, chosen_consul, consul_options, with_remedy
from hrpc.cli.errors import CommandError, UsageError
from hrpc.cli.table import aligned
from hrpc.errors import ConsulError, ConsulUnreachable
from hrpc.option import Consul

if TYPE_CHECKING:
    from hrpc.consul.listing import Listed
    from hrpc.consul.transport import Transport

    Services = Mapping[str, Sequence[Listed]]

HEADS = ("SERVICE", "INSTANCE", "ADDRESS", "HEALTH", "WEIGHT", "VERSION", "ZONE", "TAGS")
WAIT = 10.0
"""Seconds after which `--watch` looks again although Consul has told of no change: not all changes wake the query."""
_AT_ONCE = 16


@click.command()
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Again after every change, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="JSON; with --watch, one line for each change.")
@consul_options
def services(
    name: str | None, watch: bool, as_json: bool, consul: str | None, token_file: str | None, datacenter: str | None
) -> None:
    """Lists the services in Consul with their instances; with NAME, only that one, and what its checks say."""
    if name is not None and ("/" in name or name in ("", ".", "..")):
        raise UsageError(f"{name!r} is not the name of a service")
    place = chosen_consul(None, consul, token_file, datacenter)
    with suppress(KeyboardInterrupt):
        ask(_follow(place, name, as_json) if watch else _tell_once(place, name, as_json))


async def _tell_once(consul: Consul, name: str | None, as_json: bool) -> None:
    from hrpc.consul.transport import Transport

    async with Transport(consul) as transport:
        try:
            found = await _services(transport, name)
        except ConsulUnreachable as error:
            raise CommandError(with_remedy(error)) from error
        if name is not None and not found[name]:
            raise CommandError(await _unknown(transport, name))
        if not any(found.values()):
            click.echo(f"hrpc: Consul at {transport.address} lists nothing, as far as the ACL token may see", err=True)
    click.echo(_json(found, indent=2) if as_json else _table(found, checks=name is not None))


async def _follow(consul: Consul, name: str | None, as_json: bool) -> None:
    from hrpc.consul.transport import Transport

    async with Transport(consul) as transport:
        async for found in _changes(transport, name):
            if as_json:
                click.echo(_json(found))
            else:
                click.echo(f"-- {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n{_table(found, checks=name is not None)}\n")


async def _changes(transport: Transport, name: str | None) -> AsyncIterator[Services]:
    """What is listed, now and after every change; goes on when Consul comes back."""
    from hrpc.consul.watch import backoff

    told: Services | None = None
    index: int | None = None
    failures = 0
    while True:
        try:
            newest = await _woken(transport, name, index)
            index = newest if newest > 0 and (index is None or newest >= index) else None
            found = await _services(transport, name)
        except ConsulError as error:
            if told is None:
                raise
            if not failures:
                click.echo(f"hrpc: {error}; tries again", err=True)
            index = None
            await asyncio.sleep(backoff(failures))
            failures += 1
            continue
        failures = 0
        if found != told:
            told = found
            yield found


async def _woken(transport: Transport, name: str | None, index: int | None) -> int:
    """Waits until something has changed since `index`; gives the new one."""
    path = "/v1/health/state/any" if name is None else f"/v1/health/service/{name}"
    params = {"stale": ""} | ({"dc": transport.consul.datacenter} if transport.consul.datacenter else {})
    if index:
        params |= {"index": str(index), "wait": f"{WAIT:g}s"}
    response = await transport.request("GET", path, params, wait=WAIT if index else 0.0)
    return int(response.headers.get("X-Consul-Index") or 0)


async def _services(transport: Transport, name: str | None) -> Services:
    from hrpc.consul.listing import listed
    from hrpc.consul.queries import Queries

    datacenter = transport.consul.datacenter
    names = [name] if name is not None else sorted(await Queries(transport.consul, transport).services())
    turn = asyncio.Semaphore(_AT_ONCE)

    async def ask(each: str) -> Sequence[Listed]:
        async with turn:
            return (await listed(transport, each, datacenter))[1]

    return dict(zip(names, await asyncio.gather(*map(ask, names)), strict=True))


async def _unknown(transport: Transport, name: str) -> str:
    from hrpc.consul.queries import Queries

    known = sorted(await Queries(transport.consul, transport).services())
    there = f"there are {', '.join(known[:20])}" if known else "it lists none"
    return f"Consul at {transport.address} lists no service {name!r}; {there}, as far as the ACL token may see"


def _table(found: Services, checks: bool) -> str:
    rows = [HEADS, *(_row(name, each) for name, listed in found.items() for each in listed)]
    lines = aligned(rows)
    if checks:
        lines += ["", *_failing(found)] if any(each.failing for listed in found.values() for each in listed) else []
    return "\n".join(lines)


def _row(name: str, each: Listed) -> tuple[str, ...]:
    it = each.instance
    return (
        name,
        it.id,
        it.endpoint,
        each.health,
        str(it.weight),
        it.version or "-",
        it.zone or "-",
        ",".join(it.tags) or "-",
    )


def _failing(found: Services) -> Iterator[str]:
    for listed in found.values():
        for each in listed:
            for check in each.failing:
                yield f"{each.instance.id}: {check.name!r} is {check.status}: {check.said}"


def _json(found: Services, indent: int | None = None) -> str:
    told = {name: [_told(each) for each in listed] for name, listed in found.items()}
    return json.dumps(told, indent=indent, ensure_ascii=False)


def _told(each: Listed) -> dict[str, Any]:
    it = each.instance
    return {
        "id": it.id,
        "address": it.address,
        "port": it.port,
        "health": each.health,
        "weight": it.weight,
        "version": it.version,
        "zone": it.zone or None,
        "datacenter": it.datacenter,
        "tags": list(it.tags),
        "meta": dict(it.meta),
        "failing": [check._asdict() for check in each.failing],
    }
