"""The options: each checks what it is given and makes an `Option` of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import grpc.aio

from hrpc.abc import Database
from hrpc.errors import MissingServerName, OptionError
from hrpc.option import checks
from hrpc.option.consul import Consul
from hrpc.option.settings import (
    DEFAULT_HEALTH_PORT,
    Environment,
    Hook,
    Option,
    RegistrationSettings,
    StopSettings,
)

_META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


def with_server_name(name: str) -> Option:
    """The name of the service, under which others find it. Required."""
    if not name:
        raise MissingServerName
    return Option("with_server_name", {"server_name": checks.service_name("hrpc.with_server_name", name)})


def with_environment(environment: Environment | str) -> Option:
    """Where the service runs; development when not given."""
    try:
        return Option("with_environment", {"environment": Environment(environment)})
    except ValueError:
        known = ", ".join(Environment)
        raise OptionError(f"hrpc.with_environment({environment!r}): takes one of {known}") from None


def with_listen_port(port: int, host: str = "0.0.0.0") -> Option:
    """The port, and the address of the interface, to serve gRPC on; 8888 on all of IPv4 when not given.

    Port 0 is any free one: `Server.port` tells which, and it is the one registered.
    """
    if not isinstance(host, str) or not host:
        raise OptionError(f"hrpc.with_listen_port(host={host!r}): takes an address such as 0.0.0.0, 127.0.0.1 or ::")
    return Option("with_listen_port", {"port": checks.port("hrpc.with_listen_port", port), "host": host})


def with_consul(consul: Consul | None = None) -> Option:
    """Register with Consul, find others in it, read configuration from it; see `Consul` for the environment."""
    if consul is not None and not isinstance(consul, Consul):
        raise OptionError(f'hrpc.with_consul: takes hrpc.Consul(address="host:port", …), not {type(consul).__name__}')
    return Option("with_consul", {"consul": consul or Consul()})


def with_registration(
    *,
    address: str | None = None,
    weight: int = 1,
    version: str | None = None,
    tags: Iterable[str] = (),
    meta: Mapping[str, str] | None = None,
    check_interval: float = 5.0,
    check_timeout: float = 3.0,
    deregister_after: float = 600.0,
) -> Option:
    """What the service says of itself in Consul.

    `address` is what others connect to; when not given, ``HRPC_ADVERTISE``, ``POD_IP``, or the address of the route to
    Consul. Consul asks the health check every `check_interval` seconds, and removes an instance whose check stayed
    critical for `deregister_after` seconds (at least 60, Consul's own floor). `meta` takes up to 61 keys.
    The limits of `meta` are Consul's (https://developer.hashicorp.com/consul/api-docs/agent/service#meta).
    """
    option = "hrpc.with_registration"
    checks.count(option, "weight", weight, 1, 65535)
    meta = dict(meta or {})
    if len(meta) > 61:
        raise OptionError(f"{option}: meta has {len(meta)} keys, Consul takes 64 and hrpc uses 3")
    for key, value in meta.items():
        if not isinstance(key, str) or not _META_KEY.fullmatch(key):
            raise OptionError(f"{option}: meta key {key!r} takes 1 to 128 of A-Z a-z 0-9 _ -")
        if not isinstance(value, str) or len(value.encode()) > 512:
            raise OptionError(f"{option}: meta {key!r} takes a string of at most 512 bytes")
    registration = RegistrationSettings(
        address,
        weight,
        version,
        tuple(tags),
        meta,
        checks.seconds(option, "check_interval", check_interval, 1.0),
        checks.seconds(option, "check_timeout", check_timeout, 0.1),
        checks.seconds(option, "deregister_after", deregister_after, 60.0),
    )
    return Option("with_registration", {"registration": registration})


def with_databases(*databases: Database) -> Option:
    """The databases to open: ``mysql.new()``, ``redis.new()``."""
    for database in databases:
        if not callable(getattr(database, "open", None)):
            raise OptionError(f"hrpc.with_databases: takes mysql.new(…) or redis.new(…), not {database!r}")
    return Option("with_databases", {"databases": databases})


def with_upstreams(*names: str) -> Option:
    """The services that this one calls: their instances are known before the first call is served."""
    checked = tuple(checks.service_name("hrpc.with_upstreams", name) for name in names)
    return Option("with_upstreams", {"upstreams": checked})


def with_target(kind: Literal["auto", "name", "address"]) -> Option:
    """What ``service.get(…).target()`` gives: ``name:port``, ``ip:port``, or (auto) the name inside Kubernetes only."""
    if kind not in ("auto", "name", "address"):
        raise OptionError(f'hrpc.with_target({kind!r}): takes "auto", "name" or "address"')
    return Option("with_target", {"target": kind})


def with_health_check(port: int = DEFAULT_HEALTH_PORT) -> Option:
    """Answer health probes over HTTP on `port`; Consul asks there, too."""
    return Option("with_health_check", {"health_port": checks.port("hrpc.with_health_check", port)})


def with_interceptors(*interceptors: Any) -> Option:
    """Interceptors of your own: ``grpc.aio.ServerInterceptor``, the first one outermost. Each costs on every call."""
    for interceptor in interceptors:
        if not isinstance(interceptor, grpc.aio.ServerInterceptor):
            raise OptionError(
                f"hrpc.with_interceptors: takes objects of grpc.aio.ServerInterceptor, not {interceptor!r}"
            )
    return Option("with_interceptors", {"interceptors": interceptors})


def with_exit_listeners(*hooks: Hook) -> Option:
    """Functions to run before the process exits; the same as `life.when_exit` for each."""
    return Option("with_exit_listeners", {"exit_listeners": checks.hooks("hrpc.with_exit_listeners", hooks)})


def with_restart_listeners(*hooks: Hook) -> Option:
    """Functions to run on SIGHUP; the same as `life.when_restart` for each."""
    return Option("with_restart_listeners", {"restart_listeners": checks.hooks("hrpc.with_restart_listeners", hooks)})


def with_graceful_stop(*, drain_delay: float | None = None, grace: float = 20.0, step_limit: float = 5.0) -> Option:
    """The waits and limits of a stop, in seconds.

    `drain_delay`: between leaving Consul and refusing calls, so that callers notice (1 with Consul, 0 without).
    `grace`: for running calls to end. `step_limit`: for each other step and each exit hook.
    The whole fits in the 30 s that Kubernetes gives by default
    (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination).
    """
    option = "hrpc.with_graceful_stop"
    stop = StopSettings(
        None if drain_delay is None else checks.seconds(option, "drain_delay", drain_delay),
        checks.seconds(option, "grace", grace),
        checks.seconds(option, "step_limit", step_limit, 0.001),
    )
    return Option("with_graceful_stop", {"stop": stop})


def with_stack_skip(frames: int) -> Option:
    """How many frames of wrappers lie between a log call and the line that the log names; 1 names the direct caller."""
    return Option("with_stack_skip", {"stack_skip": checks.count("hrpc.with_stack_skip", "frames", frames)})
