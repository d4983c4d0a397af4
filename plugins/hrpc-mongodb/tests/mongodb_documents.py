"""The documents of a MongoDB server of tests: filters, updates and pipelines, of which it knows the most used."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any

from bson import ObjectId

Document = dict[str, Any]
_MISSING = object()


class BadValue(Exception):
    """An operator that this server does not know, or a value that it cannot have. Code 2 of MongoDB."""


def found(document: Document, path: str) -> Any:
    """The value at ``a.b``; a marker for none."""
    value: Any = document
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(value: Any, wanted: Any) -> bool:
        try:
            return value is not _MISSING and compare(value, wanted)
        except TypeError:
            return False

    return test


def _equal(value: Any, wanted: Any) -> bool:
    if value is _MISSING:
        return wanted is None
    return bool(value == wanted) or (isinstance(value, list) and wanted in value)


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda value, wanted: not _equal(value, wanted),
    "$gt": _compared(operator.gt),
    "$gte": _compared(operator.ge),
    "$lt": _compared(operator.lt),
    "$lte": _compared(operator.le),
    "$in": lambda value, wanted: any(_equal(value, one) for one in wanted),
    "$nin": lambda value, wanted: not any(_equal(value, one) for one in wanted),
    "$exists": lambda value, wanted: (value is not _MISSING) == bool(wanted),
}


def matches(document: Document, wanted: Document) -> bool:
    """Whether a filter takes a document. Raises `BadValue` for an operator that is not known here."""
    for key, value in wanted.items():
        if key in ("$and", "$or"):
            each = [matches(document, part) for part in value]
            if not (all(each) if key == "$and" else any(each)):
                return False
        elif key.startswith("$"):
            raise BadValue(f"unknown top level operator: {key}")
        elif isinstance(value, dict) and value and next(iter(value)).startswith("$"):
            for name, operand in value.items():
                if name not in _TESTS:
                    raise BadValue(f"unknown operator: {name}")
                if not _TESTS[name](found(document, key), operand):
                    return False
        elif not _equal(found(document, key), value):
            return False
    return True


def ordered(documents: Iterable[Document], by: Document) -> list[Document]:
    """Sorted by ``{"a": 1, "b": -1}``; what has no such field comes first, as in MongoDB."""
    made = list(documents)
    for key, direction in reversed(list(by.items())):

        def rank(document: Document, key: str = key) -> tuple[bool, Any]:
            value = found(document, key)
            return value is not _MISSING, 0 if value is _MISSING else value

        made.sort(key=rank, reverse=direction < 0)
    return made


def projected(document: Document, fields: Document | None) -> Document:
    """Only some fields of a document, at its top level."""
    if not fields:
        return document
    shown = {key for key, value in fields.items() if value}
    if shown - {"_id"}:
        kept = shown | ({"_id"} if fields.get("_id", 1) else set())
        return {key: value for key, value in document.items() if key in kept}
    return {key: value for key, value in document.items() if fields.get(key, 1)}


def updated(document: Document, change: Document | list[Document], is_insert: bool = False) -> Document:
    """A document after ``$set``, ``$inc`` and the like, or another one in its place."""
    if isinstance(change, list):
        raise BadValue("updates by a pipeline are not known here")
    if not any(key.startswith("$") for key in change):
        return ({"_id": document["_id"]} if "_id" in document else {}) | deepcopy(change)
    made = deepcopy(document)
    for name, fields in change.items():
        if name == "$setOnInsert" and not is_insert:
            continue
        if name not in _CHANGES:
            raise BadValue(f"Unknown modifier: {name}")
        for path, value in fields.items():
            *parents, last = path.split(".")
            place = made
            for parent in parents:
                place = place.setdefault(parent, {})
            _CHANGES[name](place, last, deepcopy(value))
    return made


def _increase(place: Document, key: str, value: Any) -> None:
    before = place.get(key, 0)
    if not isinstance(before, int | float):
        raise BadValue("Cannot apply $inc to a value of non-numeric type")
    place[key] = before + value


_CHANGES: dict[str, Callable[[Document, str, Any], object]] = {
    "$set": lambda place, key, value: place.__setitem__(key, value),
    "$setOnInsert": lambda place, key, value: place.__setitem__(key, value),
    "$unset": lambda place, key, value: place.pop(key, None),
    "$inc": _increase,
    "$push": lambda place, key, value: place.setdefault(key, []).append(value),
}


def inserted_by(wanted: Document, change: Document | list[Document]) -> Document:
    """What an upsert makes of its filter and its change."""
    start = {key: value for key, value in wanted.items() if not isinstance(value, dict) and not key.startswith("$")}
    made = updated(start, change, is_insert=True)
    return made if "_id" in made else {"_id": ObjectId(), **made}


def piped(documents: Iterable[Document], pipeline: list[Document]) -> list[Document]:
    """What an aggregation gives. Raises `BadValue` for a stage that is not known here."""
    rows = list(documents)
    for stage in pipeline:
        ((name, argument),) = stage.items()
        if name == "$match":
            rows = [row for row in rows if matches(row, argument)]
        elif name == "$sort":
            rows = ordered(rows, argument)
        elif name == "$skip":
            rows = rows[argument:]
        elif name == "$limit":
            rows = rows[:argument]
        elif name == "$project":
            rows = [projected(row, argument) for row in rows]
        elif name == "$count":
            rows = [{argument: len(rows)}] if rows else []
        elif name == "$group":
            rows = list(_grouped(rows, argument))
        else:
            raise BadValue(f"Unrecognized pipeline stage name: {name!r}")
    return rows


def _grouped(rows: list[Document], group: Document) -> Iterator[Document]:
    groups: dict[Any, Document] = {}
    for row in rows:
        key = _valued(row, group["_id"])
        made = groups.setdefault(key, {"_id": key, **{name: 0 for name in group if name != "_id"}})
        for name, formula in group.items():
            if name != "_id":
                if set(formula) != {"$sum"}:
                    raise BadValue("of accumulators only $sum is known here")
                made[name] += _valued(row, formula["$sum"])
    yield from groups.values()


def _valued(row: Document, formula: Any) -> Any:
    if isinstance(formula, str) and formula.startswith("$"):
        value = found(row, formula[1:])
        return None if value is _MISSING else value
    return formula
