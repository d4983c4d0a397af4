"""The fields of a settings class: a dataclass, a ``msgspec.Struct`` or a model of pydantic."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar, Union

from hrpc.configs import decoding

T = TypeVar("T")


class _Marker:
    def __repr__(self) -> str:
        return "hrpc_configs.SECRET"


SECRET = _Marker()
"""Marks a field whose value is never shown: ``token: Annotated[str, SECRET]``."""

Secret = Annotated[T, SECRET]
"""The same, shorter: ``token: Secret[str]``. Fields called password, token and the like need no mark."""

_HIDDEN_TYPES = ("SecretStr", "SecretBytes")  # of pydantic


class Field(NamedTuple):
    """One field: its name where settings are written, that of the attribute, its type, and whether it is not shown."""

    name: str
    attribute: str
    kind: Any
    secret: bool


def is_class(kind: Any) -> bool:
    """Whether a type has fields of its own."""
    return isinstance(kind, type) and (
        dataclasses.is_dataclass(kind) or hasattr(kind, "__struct_fields__") or hasattr(kind, "model_fields")
    )


@lru_cache(256)
def fields(kind: Any) -> Mapping[str, Field]:
    """The fields of a class that can be set, by their names."""
    found: list[tuple[str, str, Any, tuple[Any, ...]]]
    if hasattr(kind, "__struct_fields__"):
        import msgspec

        found = [(one.encode_name, one.name, one.type, ()) for one in msgspec.structs.fields(kind)]
    elif hasattr(kind, "model_fields"):
        found = [
            (one.alias or name, name, one.annotation, tuple(one.metadata)) for name, one in kind.model_fields.items()
        ]
    else:
        marks = {one.name: (SECRET,) if one.metadata.get("secret") else () for one in dataclasses.fields(kind)}
        found = [(name, name, one, marks[name]) for name, (one, _) in decoding.declared(kind).items()]
    return {name: _field(name, attribute, one, marks) for name, attribute, one, marks in found}


def _field(name: str, attribute: str, kind: Any, marks: tuple[Any, ...]) -> Field:
    while True:
        if typing.get_origin(kind) is Annotated:
            kind, *more = typing.get_args(kind)
            marks += tuple(more)
        elif typing.get_origin(kind) in (Union, types.UnionType) and len(_given(kind)) == 1:
            # Of a class or None, it is the class whose fields are set one by one.
            (inner,) = _given(kind)
            if not is_class(inner) and typing.get_origin(inner) is not Annotated:
                break
            kind = inner if is_class(inner) else Annotated[typing.get_args(inner)[0] | None, *inner.__metadata__]
        else:
            break
    secret = SECRET in marks or decoding.is_secret(name) or getattr(kind, "__name__", "") in _HIDDEN_TYPES
    return Field(name, attribute, kind, secret)


def _given(union: Any) -> list[Any]:
    return [kind for kind in typing.get_args(union) if kind is not type(None)]
