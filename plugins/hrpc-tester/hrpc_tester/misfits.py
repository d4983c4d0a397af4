"""Finds what of a JSON value does not fit its message, and says what would."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hrpc_tester.kinds import FLOATS, INTEGERS, entry, has_own_form, is_null, wrapped
from hrpc_tester.problem import listed

FAULTS = (json_format.ParseError, TypeError, ValueError, AttributeError, KeyError, RecursionError)
"""What json_format raises for JSON that does not fit: not only its own error."""
_LONGEST = 40
_FORMS = {
    "google.protobuf.Any": 'takes an object with "@type", of a type that the server knows',
    "google.protobuf.Duration": 'takes seconds as text, such as "1.5s"',
    "google.protobuf.FieldMask": 'takes names of fields as text, such as "id,customerName"',
    "google.protobuf.ListValue": "takes a list",
    "google.protobuf.Struct": "takes an object",
    "google.protobuf.Timestamp": 'takes a time as text, such as "2026-01-31T12:00:00Z"',
    "google.protobuf.Value": "takes any JSON of numbers that are finite, and not too deep",
}


def misfit(message: Descriptor, value: Any, error: Exception) -> tuple[str, str]:
    """The place in a value that was refused with `error`, such as ``items[1].count``, and what is wrong there.

    The place is empty for the whole.
    """
    if "too deep" in (reason := _told(error)):
        return "", reason
    return _in_message(message, value, "", error)


def _in_message(message: Descriptor, value: Any, place: str, error: Exception) -> tuple[str, str]:
    if has_own_form(message):
        inner = wrapped(message)
        return place, (_FORMS[message.full_name] if inner is None else _expected(inner)) + _shown(value)
    if not isinstance(value, dict):
        return place, "takes an object" + _shown(value)
    fields = {field.name: field for field in message.fields} | {field.json_name: field for field in message.fields}
    for name, one in value.items():
        if name not in fields and not name.startswith("["):
            return _inside(place, name), _no_such_field(message, name)
        wrong = _refused(message, {name: one})
        if wrong is not None and name in fields:
            return _in_field(message, fields[name], name, one, _inside(place, name), wrong)
    for oneof in message.oneofs:
        given = [
            name
            for name, one in value.items()
            if name in fields and fields[name].containing_oneof is oneof and one is not None
        ]
        if len(given) > 1:
            return _inside(
                place, given[1]
            ), f"only one of {listed([field.json_name for field in oneof.fields])} may be there"
    return place, _told(error)


def _in_field(
    message: Descriptor, field: FieldDescriptor, name: str, value: Any, place: str, error: Exception
) -> tuple[str, str]:
    pair = entry(field)
    if pair is not None and not isinstance(value, dict):
        return place, "takes an object" + _shown(value)
    if field.is_repeated and pair is None and not isinstance(value, list):
        return place, "takes a list" + _shown(value)
    single = field if pair is None else pair.value
    for key, one, alone in _each(field, value):
        wrong = _refused(message, {name: alone})
        if wrong is None:
            continue
        within = place + key
        if pair is not None and not _fits(pair.key, next(iter(alone))):
            return within, f"the key {_expected(pair.key)}"
        if single.message_type is not None and one is not None:
            return _in_message(single.message_type, one, within, wrong)
        return within, _expected(single) + _shown(one)
    return place, _told(error)


def _each(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """The place, the value, and what has only this value, of each in a field."""
    if entry(field) is not None:
        yield from ((f"[{json.dumps(key, ensure_ascii=False)}]", one, {key: one}) for key, one in value.items())
    elif field.is_repeated:
        yield from ((f"[{number}]", one, [one]) for number, one in enumerate(value))
    else:
        yield "", value, value


def _fits(key: FieldDescriptor, text: str) -> bool:
    if key.type in INTEGERS:
        _, lowest, highest = INTEGERS[key.type]
        try:
            return lowest <= int(text) <= highest
        except ValueError:
            return False
    return key.type != FieldDescriptor.TYPE_BOOL or text in ("true", "false")


def _refused(message: Descriptor, value: Any) -> Exception | None:
    try:
        json_format.ParseDict(value, message_factory.GetMessageClass(message)())
    except FAULTS as error:
        return error
    return None


def _expected(field: FieldDescriptor) -> str:
    if is_null(field):
        return "takes null"
    if field.enum_type is not None:
        return f"takes {listed([value.name for value in field.enum_type.values])}"
    if field.type in INTEGERS:
        _, lowest, highest = INTEGERS[field.type]
        return f"takes a whole number from {lowest} to {highest}"
    if field.type in FLOATS:
        return f'takes a number of type {FLOATS[field.type]}, or "NaN", "Infinity" or "-Infinity"'
    return {
        FieldDescriptor.TYPE_BOOL: "takes true or false",
        FieldDescriptor.TYPE_BYTES: "takes bytes as text in base64",
    }.get(field.type, "takes text")


def _no_such_field(message: Descriptor, name: str) -> str:
    names = [field.json_name for field in message.fields]
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {listed(near)}?" if near else f"it has {', '.join(names) or 'none'}"
    return f"{message.full_name} has no such field; {hint}"


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f", not {text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}"


def _told(error: Exception) -> str:
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return str(error).partition("\n")[0]
