"""What a service says of itself in Consul, and how Consul finds out whether it is well.

The limits are Consul's (https://developer.hashicorp.com/consul/api-docs/agent/service#register-service). An agent takes
much that cannot work, so all of it is checked before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from hrpc.abc import KEEPALIVE_META
from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.settings import DEFAULT_HEALTH_PORT, Option, RegistrationSettings

OWN_META = {"version": "version=…", "zone": "zone=…", "started-at": None, "methods": None}
"""The keys of an entry's meta that only hrpc writes, with the parameter that gives their value."""

_META_KEYS = 64
_WRITTEN = {*OWN_META, "protocol", KEEPALIVE_META}
_META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


def with_registration(
    *,
    address: str | None = None,
    weight: int = 1,
    version: str | None = None,
    zone: str | None = None,
    tags: Iterable[str] = (),
    meta: Mapping[str, str] | None = None,
    tagged_addresses: Mapping[str, str | tuple[str, int]] | None = None,
    check_interval: float = 5.0,
    check_timeout: float = 3.0,
    deregister_after: float = 600.0,
    in_consul: bool | None = None,
) -> Option:
    """What the service says of itself in Consul.

    `address` is what others connect to; when not given, ``HRPC_ADVERTISE``, ``POD_IP``, or the address of the route to
    Consul. `zone` is where the instance runs, ``HRPC_ZONE`` when not given: callers may prefer those of their own zone.
    `tagged_addresses` has further addresses by name: a host, for the port that is served, or (host, port).

    `meta` takes what else others may want to know; of the 64 keys that Consul takes, 6 are hrpc's: version, zone,
    protocol, keepalive, started-at (RFC 3339) and methods, which is the same for instances that serve the same methods.

    Consul asks whether the service is well every `check_interval` seconds, or is told so as often (see
    `with_health_check`), waits `check_timeout` seconds for the answer, and removes an instance whose check stayed
    critical for `deregister_after` seconds (at least 60, Consul's own floor).

    With ``in_consul=False`` nothing of this is sent: Consul is there for configuration and discovery only, and what
    announces the service, such as a plugin, is told. When not given, Consul is told, unless a plugin says otherwise.

    ::

        hrpc.with_registration(weight=3, version="1.4.2", zone="eu-1a", tagged_addresses={"wan": ("203.0.113.7", 443)})
    """
    option = "hrpc.with_registration"
    registration = RegistrationSettings(
        None if address is None else checks.host(f"{option}(address=…)", address),
        checks.count(option, "weight", weight, 1, 65535),
        None if version is None else checks.text(option, "version", version),
        _tags(option, tags),
        _meta(option, meta or {}),
        checks.seconds(option, "check_interval", check_interval, 1.0),
        checks.seconds(option, "check_timeout", check_timeout, 0.1),
        checks.seconds(option, "deregister_after", deregister_after, 60.0),
        _addresses(option, tagged_addresses or {}),
        "" if zone is None else checks.text(option, "zone", zone),
    )
    if in_consul not in (None, True, False):
        raise OptionError(f"{option}(in_consul={in_consul!r}): takes True, False or None")
    told = {} if in_consul is None else {"registers": in_consul}
    return Option("with_registration", {"registration": registration, **told})


def with_health_check(port: int | None = None, *, kind: Literal["http", "grpc", "ttl"] = "http") -> Option:
    """Answer health probes over HTTP on `port`, and how Consul finds out whether the service is well.

    - "http": Consul asks the health port, 6688 when no `port` is given.
    - "grpc": Consul asks the standard gRPC health service, as it does without this option. Where clients need a
      certificate, use another kind.
    - "ttl": the service tells Consul, every `check_interval` seconds (see `with_registration`), so that Consul needs no
      way to it. After three such times without a word the instance counts as critical.

    For "grpc" and "ttl" the probes over HTTP, which Kubernetes can ask, are there when a `port` is given.

    ::

        hrpc.with_health_check()                    # probes on 6688, and Consul asks there
        hrpc.with_health_check(6688, kind="ttl")    # the same probes, and Consul is told
    """
    option = "hrpc.with_health_check"
    if kind not in ("http", "grpc", "ttl"):
        raise OptionError(f'{option}(kind={kind!r}): takes "http", "grpc" or "ttl"')
    if port is None and kind == "http":
        port = DEFAULT_HEALTH_PORT
    checked = None if port is None else checks.port(option, port)
    return Option("with_health_check", {"health_port": checked, "check_kind": kind})


def _tags(option: str, tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise OptionError(f"{option}(tags={tags!r}): takes several texts, such as ({tags!r},)")
    return tuple(checks.text(option, "tags", tag) for tag in tags)


def _meta(option: str, meta: Mapping[str, str]) -> dict[str, str]:
    for key, value in meta.items():
        if not isinstance(key, str) or not _META_KEY.fullmatch(key):
            raise OptionError(f"{option}: meta key {key!r} takes 1 to 128 of A-Z a-z 0-9 _ -")
        if key.startswith("consul-"):
            raise OptionError(f"{option}: meta key {key!r}: Consul keeps those that begin with consul- for itself")
        if key in OWN_META:
            instead = f": give {OWN_META[key]}" if OWN_META[key] else ""
            raise OptionError(f"{option}: meta key {key!r} is written by hrpc{instead}")
        if not isinstance(value, str) or len(value.encode()) > 512:
            raise OptionError(f"{option}: meta {key!r} takes a string of at most 512 bytes")
    total = len(_WRITTEN | meta.keys())
    if total > _META_KEYS:
        raise OptionError(
            f"{option}: meta has {len(meta)} keys, {total} with those of hrpc ({', '.join(sorted(_WRITTEN))}); "
            f"Consul takes {_META_KEYS}"
        )
    return dict(meta)


def _addresses(option: str, given: Mapping[str, Any]) -> dict[str, str | tuple[str, int]]:
    addresses: dict[str, str | tuple[str, int]] = {}
    for name, value in given.items():
        place = f"{option}: tagged_addresses[{name!r}]"
        if not isinstance(name, str) or not name or not name.isprintable():
            raise OptionError(f"{place}: a name is printable text, such as wan")
        if isinstance(value, tuple) and len(value) == 2:
            addresses[name] = (checks.host(place, value[0]), checks.port(place, value[1], 1))
        elif isinstance(value, str):
            addresses[name] = checks.host(place, value)
        else:
            raise OptionError(f"{place}: takes a host, or (host, port), not {value!r}")
    return addresses
