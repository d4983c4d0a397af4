"""The options: each checks what it is given and makes an `Option` of it."""

from __future__ import annotations

from typing import Any, Literal

import grpc.aio

from hrpc.abc import Database
from hrpc.errors import MissingServerName, OptionError
from hrpc.option import checks
from hrpc.option.consul import Consul
from hrpc.option.settings import (
    Environment,
    Hook,
    Option,
    StopSettings,
)


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


def with_databases(*databases: Database) -> Option:
    """The databases to open: ``mysql.new()``, ``redis.new()``, and others by name, ``mysql.new(name="reports")``."""
    for database in databases:
        if hasattr(database, "subscriptions"):
            raise OptionError(
                f"hrpc.with_databases: {database.name!r} is a message queue: pass it to hrpc.with_message_queues"
            )
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
