"""Tells where each value of the settings comes from, and shows no secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hrpc.configs.decoding import is_secret
from hrpc.redaction import REDACTED
from hrpc_configs.fields import fields, is_class
from hrpc_configs.merging import Path


class Row(NamedTuple):
    """One field: its value as it may be shown, where that is from, and what else has one that does not count."""

    field: str
    value: str
    source: str
    overridden: tuple[str, ...] = ()


class Explanation(tuple[Row, ...]):
    """The rows of all fields; as a text, a table of them."""

    __slots__ = ()

    def __str__(self) -> str:
        cells = [(row.field, row.value, row.source + _also(row)) for row in self]
        widths = [max((len(cell[column]) for cell in cells), default=0) for column in (0, 1)]
        return "\n".join(f"{field:{widths[0]}}  {value:{widths[1]}}  {source}" for field, value, source in cells)


def _also(row: Row) -> str:
    return f" (also in: {', '.join(row.overridden)})" if row.overridden else ""


def explained(value: Any, origins: Mapping[Path, list[str]]) -> Explanation:
    """Where each field of `value` comes from, by what `hrpc_configs.merging.merged` remembers."""
    return Explanation(_rows(value, origins, (), False))


def _rows(value: Any, origins: Mapping[Path, list[str]], above: Path, hidden: bool) -> Iterator[Row]:
    kind: Any = type(value)
    for name, field in fields(kind).items():
        path, inner = (*above, name), getattr(value, field.attribute)
        if is_class(type(inner)) and path not in origins:
            yield from _rows(inner, origins, path, hidden or field.secret)
            continue
        *others, source = origins.get(path) or ["default"]
        yield Row(".".join(path), _text(shown(inner, hidden or field.secret)), source, tuple(others))


def shown(value: Any, hidden: bool = False) -> Any:
    """A value without its secrets."""
    if value is None or (hidden and value in ("", b"", [], {})):
        return value
    if hidden:
        return REDACTED
    kind: Any = type(value)
    if is_class(kind):
        return {name: shown(getattr(value, field.attribute), field.secret) for name, field in fields(kind).items()}
    if isinstance(value, Mapping):
        return {name: shown(inner, isinstance(name, str) and is_secret(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [shown(inner) for inner in value]
    return REDACTED if isinstance(value, str) and "://" in value and "@" in value else value


def _text(value: Any) -> str:
    return value if value == REDACTED else repr(value)
