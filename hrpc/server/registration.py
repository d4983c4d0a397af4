"""What a server says of itself to the registry, and in its readiness of the registry."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from hrpc.abc import KEEPALIVE_META, Check, Registration, RegistrationReport, endpoint
from hrpc.option import Settings
from hrpc.server.address import advertised
from hrpc.server.parts import Parts


@asynccontextmanager
async def registered(parts: Parts) -> AsyncIterator[None]:
    """Lists the server at the registry while the context lasts. Raises `OptionError` without an address to give."""
    registry = parts.consul
    assert registry is not None
    entry = own_entry(parts)
    parts.health.tell("registration", lambda: _told(registry.report()))
    async with registry.registered(entry):
        yield


def own_entry(parts: Parts) -> Registration:
    """The entry of this life, the same for all who are told. Raises `OptionError` without an address to give."""
    if parts.entry is None:
        settings = parts.settings
        assert parts.port is not None
        found = advertised(settings.registration.address, settings.consul, settings.host)
        parts.address_origin = found.origin
        parts.entry = registration(settings, found.address, parts.port, parts.health_port, parts.recorder.methods)
    return parts.entry


def _told(report: RegistrationReport | None) -> str:
    """A detail: a service that lost its registry still serves whoever knows it, so it is ready."""
    if report is None:
        return "not registered"
    if report.present:
        return "ok"
    return f"not in Consul for {report.missing_for or 0:.0f} s: {report.error or 'it is being registered again'}"


def registration(
    settings: Settings, address: str, port: int, health_port: int | None, methods: Iterable[str] = ()
) -> Registration:
    """The entry for the ports that were really bound. Its ID is new in every life, so that instances never meet in one.

    `methods` are the paths of what is served, ``/package.Service/Method``.
    """
    own = settings.registration
    return Registration(
        id=f"{settings.server_name}-{secrets.token_hex(8)}",
        name=settings.server_name,
        address=address,
        port=port,
        tags=(str(settings.environment), *own.tags),
        meta=_meta(settings, methods),
        weight=own.weight,
        check=_check(settings, address, port, health_port),
        tagged_addresses={
            name: (given, port) if isinstance(given, str) else given for name, given in own.tagged_addresses.items()
        },
    )


def _meta(settings: Settings, methods: Iterable[str]) -> dict[str, str]:
    own = settings.registration
    meta = {"protocol": "grpc" if settings.certificates is None else "grpcs"}
    if settings.keepalive.permit_without_stream:
        meta[KEEPALIVE_META] = f"{settings.keepalive.minimum:g}"
    # What is given may know better: in front of the service, somebody else can speak TLS for it.
    meta.update(own.meta)
    meta["started-at"] = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    meta["methods"] = methods_digest(methods)
    if own.version is not None:
        meta["version"] = own.version
    if own.zone:
        meta["zone"] = own.zone
    return meta


def methods_digest(methods: Iterable[str]) -> str:
    """16 hexadecimal digits that are the same for the same set of ``/package.Service/Method``, in any order.

    They are the BLAKE2b (RFC 7693) of 8 bytes over the sorted paths, each on a line.
    """
    lines = "".join(f"{path}\n" for path in sorted(set(methods)))
    return hashlib.blake2b(lines.encode(), digest_size=8).hexdigest()


def _check(settings: Settings, address: str, port: int, health_port: int | None) -> Check:
    own = settings.registration
    limits = (own.check_interval, own.check_timeout, own.deregister_after)
    if settings.check_kind == "ttl":
        return Check("ttl", "", *limits)
    if settings.check_kind == "http" and health_port is not None:
        return Check("http", f"http://{endpoint(address, health_port)}/", *limits)
    return Check("grpc", endpoint(address, port), *limits, tls=settings.certificates is not None)
