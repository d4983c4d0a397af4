"""What is in a snapshot, and how it becomes bytes.

The first line is ``hrpc-snapshot``, the version of the format and the SHA-256 of all that comes after it, which is
JSON. A file that is not exactly what `encode` has given is refused as a whole.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Generic, TypeVar

from hrpc.abc import Instance, Selection

T = TypeVar("T")

VERSION = 1

CLOCKS_DIFFER = 300.0
"""Seconds by which a time may lie in the future, because clocks are set."""

_MAGIC = b"hrpc-snapshot"


class UnusableSnapshot(ValueError):
    """The bytes are no snapshot that can be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose values these are; another server, or the same one elsewhere, has others."""

    server: str
    environment: str
    prefix: str
    datacenter: str = ""
    namespace: str = ""
    partition: str = ""

    def difference(self, other: Origin) -> str | None:
        """What is not the same, for people; None when nothing is."""
        for part in fields(self):
            mine, its = getattr(self, part.name), getattr(other, part.name)
            if mine != its:
                return f"{part.name} {its!r}, not {mine!r}"
        return None


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """A value, and when Consul last confirmed it, in seconds since 1970."""

    value: T
    at: float

    def age(self, now: float, max_age: float) -> float | None:
        """Seconds since it was confirmed; None when that is too long ago to use it, or still to come."""
        age = now - self.at
        return max(0.0, age) if -CLOCKS_DIFFER <= age <= max_age else None


@dataclass(frozen=True, slots=True)
class Contents:
    """Values of keys, None for one that does not exist, and instances of services."""

    origin: Origin
    keys: Mapping[str, Stored[bytes | None]] = field(default_factory=dict)
    services: Mapping[Selection, Stored[tuple[Instance, ...]]] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    """Keys that are not in it because they may hold secrets."""


def encode(contents: Contents) -> bytes:
    """The bytes of a file."""
    body = json.dumps(
        {
            "origin": asdict(contents.origin),
            "keys": {key: [stored.at, _text(stored.value)] for key, stored in contents.keys.items()},
            "services": [
                [stored.at, list(selection), [_of_instance(instance) for instance in stored.value]]
                for selection, stored in contents.services.items()
            ],
            "left_out": sorted(contents.left_out),
        },
        separators=(",", ":"),
    ).encode()
    return _header(body) + body


def decode(data: bytes) -> Contents:
    """The contents of a file. Raises `UnusableSnapshot`, whatever the bytes are."""
    line, _, body = data.partition(b"\n")
    words = line.split(b" ")
    if words[0] != _MAGIC:
        raise UnusableSnapshot("it is no snapshot of hrpc")
    if len(words) == 3 and words[1].isdigit() and words[1] != b"%d" % VERSION:
        raise UnusableSnapshot(f"its format has version {words[1].decode()[:9]}, and this hrpc reads {VERSION}")
    if line + b"\n" != _header(body):
        raise UnusableSnapshot("it is damaged: its checksum is another one")
    try:
        return _contents(json.loads(body))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UnusableSnapshot(f"it is damaged: {type(error).__name__}") from error


def _header(body: bytes) -> bytes:
    return b"%s %d %s\n" % (_MAGIC, VERSION, hashlib.sha256(body).hexdigest().encode())


def _contents(found: dict[str, Any]) -> Contents:
    keys = {key: Stored(_bytes(text), _number(at)) for key, (at, text) in found["keys"].items()}
    services = {
        _selection(*selection): Stored(tuple(_instance(each) for each in instances), _number(at))
        for at, selection, instances in found["services"]
    }
    origin = Origin(**{name: _str(value) for name, value in found["origin"].items()})
    return Contents(origin, keys, services, frozenset(map(_str, found["left_out"])))


def _selection(name: str, tags: list[str], version: str | None, datacenters: list[str]) -> Selection:
    return Selection(_str(name), _strings(tags), None if version is None else _str(version), _strings(datacenters))


def _of_instance(instance: Instance) -> dict[str, Any]:
    return asdict(instance) | {"meta": dict(instance.meta), "tags": list(instance.tags)}


def _instance(found: dict[str, Any]) -> Instance:
    return Instance(
        _str(found["id"]),
        _str(found["name"]),
        _str(found["address"]),
        _whole(found["port"]),
        _whole(found["weight"]),
        _strings(found["tags"]),
        {_str(key): _str(value) for key, value in found["meta"].items()},
        _str(found["datacenter"]),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(_str(text), validate=True)


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _strings(values: list[str]) -> tuple[str, ...]:
    return tuple(map(_str, values))


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(value)
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise TypeError(value)
    return float(value)  # type: ignore[arg-type]
