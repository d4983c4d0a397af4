"""Makes a message of a request's JSON, path and query, or says which field is wrong and how."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from hrpc_tester.bindings import ALL, Binding, field_of, named
from hrpc_tester.kinds import entry, has_own_form, is_text, wrapped
from hrpc_tester.methods import Method
from hrpc_tester.misfits import FAULTS, misfit
from hrpc_tester.problem import Problem


def by_path(method: Method, body: bytes, query: Iterable[tuple[str, str]]) -> Message:
    """The request of a method that is called by its own path. Raises `Problem`."""
    for name, _ in query:
        raise _wrong(name, f"{name!r} is a parameter of the URL: this path takes everything in its body")
    return _filled(method.request(), method.descriptor.input_type, _json(body, {}))


def by_binding(
    method: Method, binding: Binding, variables: Mapping[str, str], body: bytes, query: Iterable[tuple[str, str]]
) -> Message:
    """The request of a method that is called by a path of ``google.api.http``. Raises `Problem`."""
    message, kind = method.request(), method.descriptor.input_type
    if binding.body == ALL:
        _filled(message, kind, _json(body, {}))
    elif binding.body:
        field = kind.fields_by_name[binding.body]
        if body.strip():
            _filled(message, kind, {field.json_name: _json(body, None)})
    elif body.strip():
        raise Problem(grpc.StatusCode.INVALID_ARGUMENT, f"{binding.verb} {binding.template.text} takes no body")
    tree: dict[str, Any] = {}
    given = _grouped(query)
    for name in given:
        _check_parameter(method, binding, variables, name)
    for name, values in [*given.items(), *((name, [value]) for name, value in variables.items())]:
        _put(kind, tree, name, values)
    return _filled(message, kind, tree)


def _filled(message: Message, kind: Descriptor, value: Any) -> Message:
    try:
        if not isinstance(value, dict) and not has_own_form(kind):
            raise TypeError  # which json_format does not for what can be iterated
        json_format.ParseDict(value, message)
    except FAULTS as error:
        place, reason = misfit(kind, value, error)
        raise _wrong(place, f"{place}: {reason}" if place else reason, reason) from None
    return message


def _json(body: bytes, when_empty: Any) -> Any:
    if not body.strip():
        return when_empty
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_constant)
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError:
        raise _malformed("it has half a character, which no text has") from None
    except UnicodeDecodeError as error:
        raise _malformed(f"it is not UTF-8, from byte {error.start} on") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg}, in line {error.lineno}, column {error.colno}") from None
    except ValueError:
        raise _malformed("it has a number of thousands of digits") from None
    except RecursionError:
        raise _malformed("it is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _wrong(twice, f"{twice!r} is there twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise _malformed(f'{name} is none; write "{name}" in quotes')


def _malformed(what: str) -> Problem:
    return Problem(grpc.StatusCode.INVALID_ARGUMENT, f"the body is not JSON: {what}")


def _wrong(field: str, message: str, description: str | None = None) -> Problem:
    return Problem(grpc.StatusCode.INVALID_ARGUMENT, message, field=field or None, description=description)


def _grouped(query: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in query:
        found.setdefault(name, []).append(value)
    return found


def _check_parameter(method: Method, binding: Binding, variables: Mapping[str, str], name: str) -> None:
    if binding.body == ALL:
        raise _wrong(name, f"{name!r} is a parameter of the URL: this method takes everything else in its body")
    message = method.descriptor.input_type
    field = field_of(message, name)
    if field is None:
        raise _wrong(name, f"{name!r}: {message.full_name} has no such field")
    if _spelled(message, name) in {_spelled(message, known) for known in variables}:
        raise _wrong(name, f"{name!r} is in the path already")
    if binding.body and _spelled(message, name)[0] == binding.body:
        raise _wrong(name, f"{name!r} belongs in the body")
    if entry(field) is not None or (field.message_type is not None and not is_text(field.message_type)):
        raise _wrong(name, f"{name!r} cannot be a parameter of the URL: it is no single value")


def _spelled(message: Descriptor, path: str) -> tuple[str, ...]:
    """The names of a path as the proto file spells them."""
    parts = path.split(".")
    fields = (field_of(message, ".".join(parts[:count])) for count in range(1, len(parts) + 1))
    return tuple(field.name for field in fields if field is not None)


def _put(message: Descriptor, tree: dict[str, Any], path: str, values: list[str]) -> None:
    *outer, last = path.split(".")
    within = message
    for name in outer:
        field = named(within, name)
        assert field is not None
        assert field.message_type is not None
        tree = tree.setdefault(field.json_name, {})
        within = field.message_type
    field = named(within, last)
    assert field is not None
    if not field.is_repeated and len(values) > 1:
        raise _wrong(path, f"{path!r} is given {len(values)} times, and takes one value")
    found = [_value(field, value) for value in values]
    tree[field.json_name] = found if field.is_repeated else found[0]


def _value(field: FieldDescriptor, text: str) -> Any:
    """The value of a parameter as it stands in JSON, where numbers may be text anyway."""
    inner = None if field.message_type is None else wrapped(field.message_type)
    if (inner or field).type == FieldDescriptor.TYPE_BOOL:
        return {"true": True, "false": False}.get(text, text)
    return text
