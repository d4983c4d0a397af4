"""JSON bodies, read as Consul reads them: keys in any case, with underscores or not; what is unknown is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from hrpc.testing.consul.duration import parse_duration
from hrpc.testing.consul.rejected import Rejected

Decoder = Callable[[str, Any], Any]

_JSON_NAMES = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}


def decode(body: bytes, decoder: Decoder) -> Any:
    """The value of a JSON body; raises `Rejected` with status 400."""
    if not body.strip():
        raise _malformed("EOF")
    try:
        value = json.loads(body)
    except ValueError as error:
        raise _malformed(str(error)) from error
    return decoder("", value)


def struct(fields: Mapping[str, Decoder]) -> Decoder:
    """An object with these fields, given under Consul's names; absent ones and nulls stay absent."""
    known = {name.lower(): (name, decoder) for name, decoder in fields.items()}

    def read(path: str, value: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in _expect(dict, path, value, "struct").items():
            name, decoder = known.get(key.replace("_", "").lower(), (None, None))
            if name is None or decoder is None:
                raise _malformed(f'json: unknown field "{key}"')
            if item is not None:
                found[name] = decoder(f"{path}.{name}", item)
        return found

    return read


def list_of(item: Decoder) -> Decoder:
    """An array."""
    return lambda path, value: [item(path, each) for each in _expect(list, path, value, "slice")]


def map_of(item: Decoder) -> Decoder:
    """An object whose keys are data."""
    return lambda path, value: {key: item(path, each) for key, each in _expect(dict, path, value, "map").items()}


def string(path: str, value: Any) -> str:
    """A string."""
    return str(_expect(str, path, value, "string"))


def integer(path: str, value: Any) -> int:
    """A whole number."""
    return int(_expect(int, path, value, "int"))


def boolean(path: str, value: Any) -> bool:
    """true or false."""
    return bool(_expect(bool, path, value, "bool"))


def seconds(path: str, value: Any) -> float:
    """A duration: a string as Go writes it, or a number of nanoseconds; in seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / 1e9
    try:
        return parse_duration(string(path, value))
    except ValueError as error:
        raise _malformed(str(error)) from error


def anything(_path: str, value: Any) -> Any:
    """A part that is accepted and not looked at."""
    return value


def _expect(kind: type, path: str, value: Any, go_type: str) -> Any:
    if type(value) is not kind:
        found = _JSON_NAMES.get(type(value), "null")
        raise _malformed(f"json: cannot unmarshal {found} into Go struct field {path} of type {go_type}")
    return value


def _malformed(reason: str) -> Rejected:
    return Rejected(400, f"Request decode failed: {reason}")
