"""Makes an example of a message as JSON, to begin with when one tries a method."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hrpc_tester.kinds import FLOATS, INTEGERS, entry, is_null, wrapped

_DEEPEST = 5
_OWN: dict[str, Any] = {
    "google.protobuf.Any": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "string"},
    "google.protobuf.Duration": "1.5s",
    "google.protobuf.FieldMask": "",
    "google.protobuf.ListValue": [],
    "google.protobuf.Struct": {"key": "value"},
    "google.protobuf.Timestamp": "2026-01-31T12:00:00Z",
    "google.protobuf.Value": "any JSON",
}


def of(message: Descriptor) -> Any:
    """Every field once, of a oneof the first; without those that contain their own message."""
    return _message(message, ())


def _message(message: Descriptor, outer: tuple[Descriptor, ...]) -> Any:
    inner = wrapped(message)
    if inner is not None:
        return _single(inner, outer)
    if message.full_name in _OWN:
        return _OWN[message.full_name]
    within = (*outer, message)
    return {field.json_name: _field(field, within) for field in message.fields if _is_shown(field, within)}


def _is_shown(field: FieldDescriptor, within: tuple[Descriptor, ...]) -> bool:
    if field.GetOptions().deprecated:
        return False
    oneof = field.containing_oneof
    if oneof is not None and oneof.fields[0] is not field:
        return False
    pair = entry(field)
    kind = (field if pair is None else pair.value).message_type
    return kind is None or (kind not in within and len(within) < _DEEPEST)


def _field(field: FieldDescriptor, within: tuple[Descriptor, ...]) -> Any:
    if (pair := entry(field)) is not None:
        key = _single(pair.key, within)
        return {key if isinstance(key, str) else str(key or 1).lower(): _single(pair.value, within)}
    one = _single(field, within)
    return [one] if field.is_repeated else one


def _single(field: FieldDescriptor, within: tuple[Descriptor, ...]) -> Any:
    if field.message_type is not None:
        return _message(field.message_type, within)
    if is_null(field):
        return None
    if field.enum_type is not None:
        values = field.enum_type.values
        return next((value.name for value in values if value.number != 0), values[0].name)
    if field.type in INTEGERS:
        return "0" if INTEGERS[field.type][0].endswith("64") else 0
    if field.type in FLOATS:
        return 0.5
    return {FieldDescriptor.TYPE_BOOL: False, FieldDescriptor.TYPE_BYTES: "AQID"}.get(field.type, "string")
