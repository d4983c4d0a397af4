"""Bodies of register requests, checked as Consul 1.8.7 checks them, with its texts.

https://developer.hashicorp.com/consul/api-docs/agent/service#register-service and …/agent/check#register-check
"""

from __future__ import annotations

import re
from typing import Any

from hrpc.testing.consul.decoding import (
    anything,
    boolean,
    decode,
    integer,
    list_of,
    map_of,
    seconds,
    string,
    struct,
)
from hrpc.testing.consul.model import CRITICAL, STATUSES, CheckDefinition, Json, Service, default_addresses
from hrpc.testing.consul.rejected import Rejected

_PROBE_FIELDS = {
    "HTTP": string,
    "Method": string,
    "Header": map_of(list_of(string)),
    "Body": string,
    "TLSSkipVerify": boolean,
    "TCP": string,
    "GRPC": string,
    "GRPCUseTLS": boolean,
}
_CHECK_FIELDS = _PROBE_FIELDS | {
    "CheckID": string,
    "Name": string,
    "Status": string,
    "Notes": string,
    "Interval": seconds,
    "Timeout": seconds,
    "TTL": seconds,
    "DeregisterCriticalServiceAfter": seconds,
    "SuccessBeforePassing": integer,
    "FailuresBeforeCritical": integer,
    "OutputMaxSize": integer,
    "ProxyHTTP": string,
    "ProxyGRPC": string,
    "Args": list_of(string),
    "ScriptArgs": list_of(string),
    "DockerContainerID": string,
    "Shell": string,
    "AliasNode": string,
    "AliasService": string,
}
_CHECK = struct(_CHECK_FIELDS)
# A check of its own has an ID; the same of a service's check is called CheckID.
_NODE_CHECK = struct(
    {name: kind for name, kind in _CHECK_FIELDS.items() if name != "CheckID"}
    | {"ID": string, "ServiceID": string, "Token": string, "Namespace": string}
)
_ADDRESS = struct({"Address": string, "Port": integer})
_SERVICE = struct(
    {
        "ID": string,
        "Name": string,
        "Kind": string,
        "Tags": list_of(string),
        "Address": string,
        "TaggedAddresses": map_of(_ADDRESS),
        "Port": integer,
        "Meta": map_of(string),
        "Weights": struct({"Passing": integer, "Warning": integer}),
        "EnableTagOverride": boolean,
        "Check": _CHECK,
        "Checks": list_of(_CHECK),
        "Token": string,
        "Proxy": anything,
        "Connect": anything,
        "Namespace": string,
    }
)

_META_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_TYPES = ("HTTP", "TCP", "GRPC")


def service_registration(body: bytes) -> tuple[Service, list[CheckDefinition]]:
    """The service and its checks; raises `Rejected` with status 400 (or 500 for a script check, as Consul does)."""
    fields = decode(body, _SERVICE)
    name = fields.get("Name", "")
    if not name:
        raise Rejected(400, "Missing service name")
    service_id = fields.get("ID") or name
    address, port = fields.get("Address", ""), fields.get("Port", 0)
    if address in ("0.0.0.0", "::", "[::]"):
        raise Rejected(400, "Invalid service address")
    meta = fields.get("Meta", {})
    _check_meta(meta)
    # A Check in which everything is zero counts as none, in Checks it is an error.
    single = fields.get("Check", {})
    asked = ([single] if any(single.values()) else []) + fields.get("Checks", [])
    checks = []
    for number, check in enumerate(asked, start=1):
        if check.get("Status", "") not in ("", *STATUSES):
            raise Rejected(400, "Status for checks must 'passing', 'warning', 'critical'")
        own_id = f"service:{service_id}" if len(asked) == 1 else f"service:{service_id}:{number}"
        check_id = check.get("CheckID") or own_id
        checks.append(_definition(check, check_id, check.get("Name") or f"Service '{name}' check", service_id))
    service = Service(
        id=service_id,
        name=name,
        tags=fields.get("Tags", []),
        address=address,
        port=port,
        meta=meta,
        weights=_weights(fields.get("Weights")),
        tagged_addresses=default_addresses(address, port) | fields.get("TaggedAddresses", {}),
        kind=fields.get("Kind", ""),
        enable_tag_override=fields.get("EnableTagOverride", False),
    )
    return service, checks


def check_registration(body: bytes) -> CheckDefinition:
    """A check of its own; raises `Rejected` as `service_registration` does."""
    fields = decode(body, _NODE_CHECK)
    name = fields.get("Name", "")
    if not name:
        raise Rejected(400, "Missing check name")
    if fields.get("Status", "") not in ("", *STATUSES):
        raise Rejected(400, "Bad check status")
    return _definition(fields, fields.get("ID") or name, name, fields.get("ServiceID", ""))


def _check_meta(meta: dict[str, str]) -> None:
    if len(meta) > 64:
        raise Rejected(400, "Invalid Service Meta: Node metadata cannot contain more than 64 key/value pairs")
    for key, value in meta.items():
        reason = None
        if not key:
            reason = "Key cannot be blank"
        elif not _META_KEY.fullmatch(key):
            reason = "Key contains invalid characters"
        elif len(key) > 128:
            reason = "Key is too long (limit: 128 characters)"
        elif len(value.encode()) > 512:
            reason = "Value is too long (limit: 512 characters)"
        if reason:
            raise Rejected(400, f"Invalid Service Meta: Couldn't load metadata pair ('{key}', '{value}'): {reason}")


def _weights(given: Json | None) -> dict[str, int]:
    if given is None:
        return {"Passing": 1, "Warning": 1}
    passing, warning = given.get("Passing", 0), given.get("Warning", 0)
    if passing < 1:
        raise Rejected(400, "Invalid Weights: Passing must be greater than 0")
    if warning < 0:
        raise Rejected(400, "Invalid Weights: Warning must be greater or equal than 0")
    if max(passing, warning) > 65535:
        raise Rejected(400, "Invalid Weights: DNS Weight must be between 0 and 65535")
    return {"Passing": passing, "Warning": warning}


def _definition(fields: Json, check_id: str, name: str, service_id: str) -> CheckDefinition:
    interval, ttl = fields.get("Interval", 0.0), fields.get("TTL", 0.0)
    _check_supported(fields)
    kind = next((name for name in _TYPES if fields.get(name)), "TTL")
    if kind != "TTL" and ttl > 0 and interval > 0:
        raise Rejected(400, "Invalid check: Interval and TTL cannot both be specified")
    if kind != "TTL" and interval <= 0:
        raise Rejected(400, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks")
    if kind == "TTL" and ttl <= 0:
        raise Rejected(400, "Invalid check: TTL must be > 0 for TTL checks")
    return CheckDefinition(
        id=check_id,
        name=name,
        type=kind.lower(),
        status=fields.get("Status") or CRITICAL,
        notes=fields.get("Notes", ""),
        service_id=service_id,
        interval=interval,
        timeout=fields.get("Timeout", 0.0),
        ttl=ttl,
        deregister_after=fields.get("DeregisterCriticalServiceAfter", 0.0),
        failures_before_critical=fields.get("FailuresBeforeCritical", 0),
        success_before_passing=fields.get("SuccessBeforePassing", 0),
        probe={name: fields[name] for name in _PROBE_FIELDS if name in fields},
    )


def _check_supported(fields: dict[str, Any]) -> None:
    if fields.get("Args") or fields.get("ScriptArgs"):
        raise Rejected(
            500,
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
        )
    for name in ("DockerContainerID", "AliasNode", "AliasService"):
        if fields.get(name):
            raise Rejected(400, f"DevConsul, a fake for development and tests, has no checks with {name}")
    if fields.get("GRPCUseTLS") and fields.get("TLSSkipVerify"):
        raise Rejected(400, "DevConsul, a fake for development and tests, cannot skip TLS verification of gRPC checks")
