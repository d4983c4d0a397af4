"""What the fields of messages look like in JSON (https://protobuf.dev/programming-guides/json/)."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

INTEGERS = {
    FieldDescriptor.TYPE_INT32: ("int32", -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: ("int32", -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: ("int32", -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: ("uint32", 0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: ("uint32", 0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: ("int64", -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: ("int64", -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: ("int64", -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: ("uint64", 0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: ("uint64", 0, 2**64 - 1),
}
"""The name, the lowest and the highest value of each type of whole numbers; those of 64 bits are text in JSON."""

FLOATS = {FieldDescriptor.TYPE_FLOAT: "float", FieldDescriptor.TYPE_DOUBLE: "double"}

_OWN = frozenset(
    f"google.protobuf.{name}" for name in ("Any", "Duration", "FieldMask", "ListValue", "Struct", "Timestamp", "Value")
)
_TEXTS = frozenset(f"google.protobuf.{name}" for name in ("Duration", "FieldMask", "Timestamp"))


class Entry(NamedTuple):
    """What a map has: fields of the message that stands behind it."""

    key: FieldDescriptor
    value: FieldDescriptor


def entry(field: FieldDescriptor) -> Entry | None:
    """The key and the value of a map; None of a field that is none."""
    kind = field.message_type
    if kind is None or not kind.GetOptions().map_entry:
        return None
    return Entry(kind.fields_by_name["key"], kind.fields_by_name["value"])


def is_null(field: FieldDescriptor) -> bool:
    """Whether its only value is null."""
    return field.enum_type is not None and field.enum_type.full_name == "google.protobuf.NullValue"


def wrapped(message: Descriptor) -> FieldDescriptor | None:
    """The value of a wrapper such as ``google.protobuf.StringValue``, which JSON has in its place."""
    is_wrapper = message.file.name == "google/protobuf/wrappers.proto"
    return message.fields_by_name["value"] if is_wrapper else None


def has_own_form(message: Descriptor) -> bool:
    """Whether its JSON is something else than an object of its fields."""
    return message.full_name in _OWN or wrapped(message) is not None


def is_text(message: Descriptor) -> bool:
    """Whether its JSON is text, or one value: it can be a parameter in a URL."""
    return message.full_name in _TEXTS or wrapped(message) is not None


def type_name(field: FieldDescriptor) -> str:
    """Its type, as a proto file spells it."""
    if (pair := entry(field)) is not None:
        return f"map<{type_name(pair.key)}, {type_name(pair.value)}>"
    name = _single(field)
    return f"repeated {name}" if field.is_repeated else name


def _single(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return field.message_type.full_name
    if field.enum_type is not None:
        return field.enum_type.full_name
    return _NAMES[field.type]


_NAMES = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in (
        *("bool", "bytes", "double", "fixed32", "fixed64", "float", "int32", "int64"),
        *("sfixed32", "sfixed64", "sint32", "sint64", "string", "uint32", "uint64"),
    )
}
