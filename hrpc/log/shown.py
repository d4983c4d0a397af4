"""What of a message may be shown: its fields as JSON has them, less those that are hidden."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from itertools import islice
from math import isfinite
from typing import Any, cast

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from hrpc.redaction import REDACTED, Redaction

_DEEPEST = 32
_VALUES_AT_MOST = 2000
_MORE = "…"


class Shown:
    """Makes plain values of one message: of a protobuf one, or of dicts, lists and dataclasses.

    Bytes, and objects that cannot be looked into, could hold anything: only their size or type is shown.
    """

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._values = 0

    def value(self, value: Any, depth: int = 0) -> Any:
        """A value that JSON knows."""
        self._values += 1
        if self._values > _VALUES_AT_MOST or depth > _DEEPEST:
            return _MORE
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float):
            return value if isfinite(value) else str(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return f"({len(value)} bytes)"
        if isinstance(value, Message):
            return self._message(value, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._entries(((f.name, getattr(value, f.name)) for f in dataclasses.fields(value)), depth)
        if isinstance(value, Mapping):
            return self._entries(value.items(), depth)
        if isinstance(value, Sequence | Set):
            return self._items(value, depth)
        return f"({type(value).__name__})"

    def _entries(self, entries: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        return {
            str(name): REDACTED if self._redaction.hides(str(name)) else self.value(value, depth + 1)
            for name, value in islice(entries, _VALUES_AT_MOST)
        }

    def _items(self, items: Iterable[Any], depth: int) -> list[Any]:
        return [self.value(item, depth + 1) for item in islice(items, _VALUES_AT_MOST)]

    def _message(self, message: Any, depth: int) -> Any:
        match message.DESCRIPTOR.full_name:
            case "google.protobuf.Any":
                return self._any(message, depth)
            case "google.protobuf.Struct":
                return self._entries(message.fields.items(), depth)
            case "google.protobuf.ListValue":
                return self._items(message.values, depth)
            case "google.protobuf.Value":
                kind = message.WhichOneof("kind")
                return None if kind in (None, "null_value") else self.value(getattr(message, kind), depth + 1)
            case "google.protobuf.Timestamp" | "google.protobuf.Duration":
                with suppress(ValueError):  # a time that no calendar has
                    return message.ToJsonString()
        return {
            f"[{field.full_name}]" if field.is_extension else field.name: self._field(field, value, depth)
            for field, value in message.ListFields()
        }

    def _field(self, field: FieldDescriptor, value: Any, depth: int) -> Any:
        if self._redaction.hides_field(field):
            return REDACTED
        if isinstance(value, Mapping):
            return self._of_map(field, value, depth)
        if field.enum_type is None:
            return self.value(value, depth + 1)
        names = field.enum_type.values_by_number
        if isinstance(value, Sequence):
            return [_name(names, number) for number in islice(value, _VALUES_AT_MOST)]
        return _name(names, value)

    def _of_map(self, field: FieldDescriptor, entries: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        of_values = cast(Descriptor, field.message_type).fields_by_name["value"]
        return {
            str(key): REDACTED if self._redaction.hides(str(key)) else self._field(of_values, value, depth + 1)
            for key, value in islice(entries.items(), _VALUES_AT_MOST)
        }

    def _any(self, message: Any, depth: int) -> dict[str, Any]:
        try:
            descriptor = message.DESCRIPTOR.file.pool.FindMessageTypeByName(message.TypeName())
            inside = message_factory.GetMessageClass(descriptor).FromString(message.value)
        except (KeyError, DecodeError):
            return {"@type": message.type_url, "value": f"({len(message.value)} bytes)"}
        shown = self.value(inside, depth + 1)
        fields = shown if isinstance(shown, dict) else {"value": shown}
        return {"@type": message.type_url, **fields}


def _name(names: Mapping[int, Any], number: int) -> str | int:
    known = names.get(number)
    return number if known is None else known.name
