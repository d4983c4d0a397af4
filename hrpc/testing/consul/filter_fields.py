"""Which fields a ``?filter`` may name, by answer: https://developer.hashicorp.com/consul/api-docs/features/filtering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map whose keys are data."""

    value: Kind


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of objects; a comparison holds when it holds for one of them."""

    fields: Mapping[str, Kind]


Kind = Literal["string", "int", "bool", "strings"] | MapOf | ListOf | Mapping[str, "Kind"]

_ADDRESSES = MapOf({"Address": "string", "Port": "int"})
_WEIGHTS: Kind = {"Passing": "int", "Warning": "int"}

SERVICE: Mapping[str, Kind] = {
    "Kind": "string",
    "ID": "string",
    "Service": "string",
    "Tags": "strings",
    "Address": "string",
    "TaggedAddresses": _ADDRESSES,
    "Meta": MapOf("string"),
    "Port": "int",
    "Weights": _WEIGHTS,
    "EnableTagOverride": "bool",
}
CHECK: Mapping[str, Kind] = {
    "Node": "string",
    "CheckID": "string",
    "Name": "string",
    "Status": "string",
    "Notes": "string",
    "Output": "string",
    "ServiceID": "string",
    "ServiceName": "string",
    "ServiceTags": "strings",
    "Type": "string",
}
HEALTH: Mapping[str, Kind] = {
    "Node": {
        "ID": "string",
        "Node": "string",
        "Address": "string",
        "Datacenter": "string",
        "TaggedAddresses": MapOf("string"),
        "Meta": MapOf("string"),
    },
    "Service": SERVICE,
    "Checks": ListOf(CHECK),
}
CATALOG_SERVICE: Mapping[str, Kind] = {
    "ID": "string",
    "Node": "string",
    "Address": "string",
    "Datacenter": "string",
    "TaggedAddresses": MapOf("string"),
    "NodeMeta": MapOf("string"),
    "ServiceKind": "string",
    "ServiceID": "string",
    "ServiceName": "string",
    "ServiceTags": "strings",
    "ServiceAddress": "string",
    "ServiceTaggedAddresses": _ADDRESSES,
    "ServiceWeights": _WEIGHTS,
    "ServiceMeta": MapOf("string"),
    "ServicePort": "int",
    "ServiceEnableTagOverride": "bool",
}
