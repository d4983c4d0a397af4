"""Puts the sources of settings on top of each other, and remembers which of them each value is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hrpc_configs.fields import fields, is_class

Path = tuple[str, ...]


class Source(NamedTuple):
    """What one place says."""

    name: str
    values: Mapping[str, Any]


class Merged(NamedTuple):
    """The values of all sources, and for the path of each the names of those that have one, the last one's counts."""

    values: dict[str, Any]
    origins: dict[Path, list[str]]


def merged(kind: Any, sources: Sequence[Source]) -> Merged:
    """The later sources over the earlier ones.

    A field that is a class of settings itself is put together field by field; of any other, such as a list or a dict,
    the whole value is that of the last source.
    """
    found = Merged({}, {})
    for source in sources:
        _put(kind, found.values, source.values, (), source.name, found.origins)
    return found


def _put(
    kind: Any, onto: dict[str, Any], values: Mapping[str, Any], above: Path, source: str, origins: dict[Path, list[str]]
) -> None:
    known = fields(kind)
    for name, value in values.items():
        path, inner = (*above, name), known[name].kind if name in known else None
        if is_class(inner) and isinstance(value, Mapping):
            if not isinstance(onto.get(name), dict):
                origins.pop(path, None)
                onto[name] = {}
            _put(inner, onto[name], value, path, source, origins)
            continue
        for below in [known for known in origins if known[: len(path)] == path and known != path]:
            del origins[below]
        origins.setdefault(path, []).append(source)
        onto[name] = value
