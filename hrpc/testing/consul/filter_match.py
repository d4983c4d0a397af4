"""One comparison of a filter: a field, an operator and a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hrpc.testing.consul.filter_fields import Kind, ListOf, MapOf

_STEP = re.compile(r'\.?([a-zA-Z][a-zA-Z0-9_/]*)|\["([^"]*)"\]|\[`([^`]*)`\]')
_EQUALITY = ("==", "!=")
_MEMBERSHIP = ("in", "not in")
_EMPTINESS = ("is empty", "is not empty")
_MATCHING = ("matches", "not matches")
_OPERATORS: dict[str, tuple[str, ...]] = {
    "string": (*_EQUALITY, *_MEMBERSHIP, *_MATCHING),
    "int": _EQUALITY,
    "bool": _EQUALITY,
    "strings": (*_MEMBERSHIP, *_EMPTINESS),
}
_NAMES = {
    "==": "Equal",
    "!=": "Not Equal",
    "in": "In",
    "not in": "Not In",
    "is empty": "Is Empty",
    "is not empty": "Is Not Empty",
    "matches": "Matches",
    "not matches": "Not Matches",
}
_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda found, value: bool(found == value),
    "in": lambda found, value: value in (found or ()),
    "is empty": lambda found, _value: not found,
    "matches": lambda found, value: re.search(value, found) is not None,
}
_NEGATIONS = {"!=": "==", "not in": "in", "is not empty": "is empty", "not matches": "matches"}
# What holds for a key that a map does not have: `Meta.canary != "yes"` matches a service without it.
_HOLDS_WHEN_MISSING = frozenset({"!=", "not in", "is empty", "not matches"})
_MISSING = object()


def compile_match(selector: str, operator: str, value: str, fields: Mapping[str, Kind]) -> Callable[[Any], bool]:
    """A function that compares the field of an item; raises ValueError when these three do not go together."""
    path = [next(part for part in step if part) for step in _STEP.findall(selector)]
    kind = _kind_of(path, fields)
    if kind is None:
        raise ValueError(f'Selector "{selector}" is not valid')
    if operator not in _operators_of(kind):
        raise ValueError(f'Invalid match operator "{_NAMES[operator]}" for selector "{selector}"')
    wanted = _pattern(value) if operator in _MATCHING else _coerced(kind, value, selector)
    holds, negated = _HOLDS[_NEGATIONS.get(operator, operator)], operator in _NEGATIONS
    missing = operator in _HOLDS_WHEN_MISSING
    return lambda item: any(
        missing if found is _MISSING else holds(found, wanted) != negated for found in _values(item, path)
    )


def _kind_of(path: Sequence[str], kind: Kind | None) -> Kind | None:
    for name in path:
        if isinstance(kind, MapOf):
            kind = kind.value
        elif isinstance(kind, ListOf):
            kind = kind.fields.get(name)
        elif isinstance(kind, Mapping):
            kind = kind.get(name)
        else:
            return None
    return kind


def _operators_of(kind: Kind) -> tuple[str, ...]:
    if isinstance(kind, str):
        return _OPERATORS[kind]
    if isinstance(kind, MapOf):
        return (*_MEMBERSHIP, *_EMPTINESS)
    return _EMPTINESS if isinstance(kind, ListOf) else ()


def _coerced(kind: Kind, value: str, selector: str) -> str | int | bool:
    if kind == "int" and not re.fullmatch(r"-?\d+", value):
        raise ValueError(
            f'Failed to coerce value "{value}" for selector "{selector}": '
            f'strconv.ParseInt: parsing "{value}": invalid syntax'
        )
    if kind == "bool" and value not in ("true", "false"):
        raise ValueError(
            f'Failed to coerce value "{value}" for selector "{selector}": '
            f'strconv.ParseBool: parsing "{value}": invalid syntax'
        )
    if kind == "int":
        return int(value)
    return value == "true" if kind == "bool" else value


def _pattern(value: str) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"error parsing regexp: {error}") from error


def _values(item: Any, path: Sequence[str]) -> list[Any]:
    """What the path leads to: several values through a list, `_MISSING` for a key that a map does not have."""
    found = [item]
    for name in path:
        found = [each for value in found for each in (value if isinstance(value, list) else [value])]
        found = [_MISSING if value is _MISSING else (value or {}).get(name, _MISSING) for value in found]
    return found
