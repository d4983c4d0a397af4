"""JSON schemas of messages and enums, by the rules of https://protobuf.dev/programming-guides/json/."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor

from hrpc_tester.kinds import FLOATS, INTEGERS, entry, has_own_form, is_null, wrapped

Schema: TypeAlias = "dict[str, Any]"

_NOT_FINITE = ["NaN", "Infinity", "-Infinity"]
_OWN: dict[str, Schema] = {
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string", "description": "The type of the message, which stands beside it."}},
        "required": ["@type"],
        "additionalProperties": True,
    },
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$",
        "description": "Seconds, such as 1.5s.",
    },
    "google.protobuf.FieldMask": {"type": "string", "description": "Names of fields, with commas between."},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Value": {"description": "Any JSON."},
}
_REFERENCE = "#/components/schemas/"


class Schemas:
    """The schemas that a document refers to; what is asked for is added with all that it needs."""

    def __init__(self) -> None:
        self.all: dict[str, Schema] = {}
        """By the full name of the message or enum."""

    def message(self, message: Descriptor) -> Schema:
        """The schema of a message: a reference to it."""
        name = message.full_name
        if name not in self.all:
            self.all[name] = {}  # it may contain itself
            self.all[name] = self._own_form(message) if has_own_form(message) else self._object(message)
        return {"$ref": _REFERENCE + name}

    def field(self, field: FieldDescriptor) -> Schema:
        """The schema of a field."""
        if (pair := entry(field)) is not None:
            found: Schema = {"type": "object", "additionalProperties": self.single(pair.value)}
            if (names := _keys(pair.key)) is not None:
                found["propertyNames"] = names
        elif field.is_repeated:
            found = {"type": "array", "items": self.single(field)}
        else:
            found = self.single(field)
        if field.GetOptions().deprecated:
            found = {**found, "deprecated": True}
        return found

    def single(self, field: FieldDescriptor) -> Schema:
        """The schema of one value of a field."""
        if field.message_type is not None:
            return self.message(field.message_type)
        if is_null(field):
            return {"type": "null"}
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        return _scalar(field)

    def _own_form(self, message: Descriptor) -> Schema:
        inner = wrapped(message)
        return _OWN[message.full_name] if inner is None else self.single(inner)

    def _object(self, message: Descriptor) -> Schema:
        properties = {field.json_name: self.field(field) for field in message.fields}
        found: Schema = {"type": "object", "title": message.name, "properties": properties}
        found["additionalProperties"] = False
        required = [field.json_name for field in message.fields if field.is_required]
        if required:
            found["required"] = required
        choices = [_choice(oneof) for oneof in message.oneofs if not _is_optional(oneof)]
        if choices:
            found["allOf"] = choices
        if message.GetOptions().deprecated:
            found["deprecated"] = True
        if message.is_extendable:
            del found["additionalProperties"]
        return found

    def _enum(self, enum: EnumDescriptor) -> Schema:
        self.all.setdefault(
            enum.full_name,
            {"type": "string", "title": enum.name, "enum": [value.name for value in enum.values]},
        )
        return {"$ref": _REFERENCE + enum.full_name}


def _choice(oneof: OneofDescriptor) -> Schema:
    names = [field.json_name for field in oneof.fields]
    none = {"not": {"anyOf": [{"required": [name]} for name in names]}}
    return {
        "description": f"{oneof.name}: at most one of {', '.join(names)}.",
        "oneOf": [*({"required": [name]} for name in names), none],
    }


def _is_optional(oneof: OneofDescriptor) -> bool:
    """Whether it is only how proto3 keeps a field that is marked so."""
    return len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}"


def _scalar(field: FieldDescriptor) -> Schema:
    if field.type in INTEGERS:
        name, lowest, highest = INTEGERS[field.type]
        if name.endswith("64"):
            sign = {"minimum": 0, "pattern": "^[0-9]+$"} if lowest == 0 else {"pattern": "^-?[0-9]+$"}
            return {"type": ["string", "integer"], "format": name, **sign}
        return {"type": "integer", "format": name, "minimum": lowest, "maximum": highest}
    if field.type in FLOATS:
        return {"anyOf": [{"type": "number", "format": FLOATS[field.type]}, {"enum": _NOT_FINITE}]}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    return {"type": "string"}


def _keys(field: FieldDescriptor) -> Schema | None:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"enum": ["true", "false"]}
    return {"pattern": "^-?[0-9]+$"} if field.type in INTEGERS else None


def identifier(*words: str) -> str:
    """A name for code that is generated from the document."""
    return "_".join(re.sub(r"\W+", "_", word, flags=re.ASCII).strip("_") for word in words)
