"""A registration as an agent takes it, and as it shows it.

The shapes are those of https://developer.hashicorp.com/consul/api-docs/agent/service and …/agent/check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hrpc.abc import Check, Registration


def check_id(registration: Registration) -> str:
    """The ID of its check: it is as unique as that of the service, because an ID that is used twice moves the check."""
    return f"service:{registration.id}"


def maintenance_id(registration: Registration) -> str:
    """The ID that an agent gives to the check that keeps a service out of rotation."""
    return f"_service_maintenance:{registration.id}"


def body(registration: Registration, status: str = "passing") -> dict[str, Any]:
    """What is sent to register. `status` is that of the check until it is carried out for the first time."""
    return {
        "ID": registration.id,
        "Name": registration.name,
        "Address": registration.address,
        "Port": registration.port,
        "TaggedAddresses": _addresses(registration),
        "Tags": list(registration.tags),
        "Meta": dict(registration.meta),
        "Weights": {"Passing": registration.weight, "Warning": 1},
        "Check": {
            "CheckID": check_id(registration),
            "Name": _check_name(registration),
            "Notes": _notes(registration.check),
            "DeregisterCriticalServiceAfter": f"{_seconds(registration.check.deregister_after)}s",
            "Status": status,
            **_probe(registration.check),
        },
    }


def is_same(entry: Mapping[str, Any], registration: Registration) -> bool:
    """Whether an agent's entry is what was registered. It may have more tagged addresses: an agent adds its own."""
    weights, tagged = entry.get("Weights") or {}, entry.get("TaggedAddresses") or {}
    return (
        entry.get("Service") == registration.name
        and entry.get("Address") == registration.address
        and entry.get("Port") == registration.port
        and sorted(entry.get("Tags") or ()) == sorted(registration.tags)
        and (entry.get("Meta") or {}) == registration.meta
        and weights.get("Passing") == registration.weight
        and all(tagged.get(name) == address for name, address in _addresses(registration).items())
    )


def is_same_check(check: Mapping[str, Any], registration: Registration) -> bool:
    """Whether an agent's check is the registered one. An agent does not show how it checks; the notes say so."""
    return (
        check.get("ServiceID") == registration.id
        and check.get("Name") == _check_name(registration)
        and check.get("Type") in (registration.check.kind, None, "")
        and check.get("Notes") == _notes(registration.check)
    )


def _addresses(registration: Registration) -> dict[str, dict[str, Any]]:
    return {name: {"Address": host, "Port": port} for name, (host, port) in registration.tagged_addresses.items()}


def _check_name(registration: Registration) -> str:
    return f"{registration.name} {registration.check.kind}"


def _probe(check: Check) -> dict[str, Any]:
    if check.kind == "ttl":
        return {"TTL": f"{_seconds(check.ttl)}s"}
    times = {"Interval": f"{_seconds(check.interval)}s", "Timeout": f"{_seconds(check.timeout)}s"}
    if check.kind == "http":
        return {"HTTP": check.target, **times}
    return {"GRPC": check.target, "GRPCUseTLS": check.tls, "TLSSkipVerify": check.tls, **times}


def _notes(check: Check) -> str:
    removed = f"removed after {_seconds(check.deregister_after)} s of being critical"
    if check.kind == "ttl":
        told = f"told by the service every {_seconds(check.interval)} s"
        return f"{told}, critical after {_seconds(check.ttl)} s without; {removed}"
    asked = f"asked every {_seconds(check.interval)} s, which may take {_seconds(check.timeout)} s"
    return f"{check.target}{' with TLS' if check.tls else ''} {asked}; {removed}"


def _seconds(seconds: float) -> str:
    """In full, to a thousandth: an agent takes no exponent."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
