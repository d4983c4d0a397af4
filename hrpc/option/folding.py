"""All options folded into one frozen value, and checked as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from hrpc.errors import MissingServerName, OptionError
from hrpc.option import lists, native
from hrpc.option.consul import from_environment
from hrpc.option.debug import from_environment as debug_from_environment
from hrpc.option.processes import from_environment as workers_from_environment
from hrpc.option.settings import Option, RegistrationSettings, Settings, TracingSettings


def fold(
    options: Iterable[Option], environ: Mapping[str, str] | None = None, *, brought: Iterable[Option] = ()
) -> Settings:
    """One `Settings` from all options and the environment, checked as a whole. Raises `OptionError`.

    Those that plugins have `brought` come before `options`, and lists of theirs are not replaced by later ones.
    """
    changes: dict[str, Any] = {}
    for option in brought:
        lists.add(changes, {**option.changes, **option.added})
    given: dict[str, Any] = {}
    for option in options:
        if not isinstance(option, Option):
            raise OptionError(
                f"new_server takes options such as hrpc.with_server_name(…), not {option!r}; plugins go into "
                "hrpc.with_plugins(…)"
            )
        given.update(option.changes)
        for name, values in option.added.items():
            given[name] = (*given.get(name, ()), *values)
    lists.add(changes, given)
    settings = Settings(**changes)
    if not settings.server_name:
        raise MissingServerName
    environ = os.environ if environ is None else environ
    settings = replace(
        settings,
        consul=from_environment(settings.consul, environ),
        registration=_zoned(settings.registration, environ),
        tracing=_tracing(settings, environ),
        debug=debug_from_environment(settings.debug, environ),
        workers=workers_from_environment(settings.workers, environ),
    )
    settings = native.settled(settings, environ)
    _check_ports(settings)
    _check_databases(settings)
    _check_message_queues(settings)
    _check_hosted(settings)
    _check_client_certificates(settings)
    if settings.upstreams and settings.consul is None and settings.static_services is None:
        raise OptionError(
            "hrpc.with_upstreams needs hrpc.with_consul(…), or CONFIGS_ADDR in the environment, or "
            "hrpc.with_static_services(…)"
        )
    if settings.snapshot is not None and settings.consul is None:
        raise OptionError("hrpc.with_snapshot needs hrpc.with_consul(…), or CONFIGS_ADDR in the environment")
    return settings


def _zoned(registration: RegistrationSettings, environ: Mapping[str, str]) -> RegistrationSettings:
    zone = registration.zone or environ.get("HRPC_ZONE", "").strip()
    if len(zone.encode()) > 512 or not zone.isprintable():
        raise OptionError("HRPC_ZONE: takes the name of a zone, at most 512 bytes of printable text")
    return registration._replace(zone=zone)


def _tracing(settings: Settings, environ: Mapping[str, str]) -> TracingSettings | None:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    names = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    is_asked_for = any(environ.get(name) for name in names) and environ.get(names[0], "").strip().lower() != "none"
    return settings.tracing or (TracingSettings() if is_asked_for else None)


def _check_ports(settings: Settings) -> None:
    users: dict[int, str] = {}
    ports = {
        "hrpc.with_listen_port": settings.port,
        "hrpc.with_health_check": settings.health_port,
        "hrpc.with_metrics": settings.metrics_port,
    }
    for option, port in ports.items():
        if port and users.setdefault(port, option) != option:
            raise OptionError(
                f"port {port} is given to both {users[port]} and {option}: choose another for one of them"
            )


def _check_databases(settings: Settings) -> None:
    names = [database.name for database in settings.databases]
    for database in settings.databases:
        if names.count(database.name) > 1:
            raise OptionError(
                f"hrpc.with_databases: {database.name} is given twice; give one of them another name, as in "
                f'{database.name}.new(name="reports")'
            )
        if database.needs_settings and settings.consul is None:
            origin = getattr(database, "origin", f"{database.name}.new()")
            given = origin.removesuffix(")") + ("" if origin.endswith("()") else ", ")
            raise OptionError(
                f"hrpc.with_databases({origin}) has no settings: give them in code, {given}address=…), or pass "
                "hrpc.with_consul(…), or set CONFIGS_ADDR, to read the KV key "
                f"{settings.kv_prefix}/databases/{database.name}"
            )


def _check_message_queues(settings: Settings) -> None:
    option, names = "hrpc.with_message_queues", {database.name for database in settings.databases}
    for queue in settings.message_queues:
        if queue.name in names:
            raise OptionError(
                f'{option}: {queue.name!r} is the name of another one; give it its own, new(name="events")'
            )
        names.add(queue.name)
        if queue.needs_settings and settings.consul is None:
            raise OptionError(
                f"{option}: {queue.name} has no settings: say in code where its brokers are, or pass "
                "hrpc.with_consul(…), or set CONFIGS_ADDR, to read the KV key "
                f"{settings.kv_prefix}/messagequeues/{queue.name}"
            )


def _check_hosted(settings: Settings) -> None:
    ids = [service.id for service in settings.hosted.services]
    for twice in (each for each in ids if ids.count(each) > 1):
        raise OptionError(f"hrpc.with_services: two services have the id {twice!r}: give one of them another")


def _check_client_certificates(settings: Settings) -> None:
    certificates = settings.certificates
    if certificates is None or certificates.client_ca is None or settings.consul is None:
        return
    if settings.check_kind == "grpc":
        raise OptionError(
            "hrpc.with_server_certs(client_ca=…): Consul has no client certificate, so it cannot ask the gRPC port "
            "whether the service is well; pass hrpc.with_health_check() for a port that it can ask, or "
            'hrpc.with_health_check(kind="ttl") for a service that tells it'
        )
