"""Makes values of Python out of values of JSON, as strictly as the type says.

Dataclasses, and the types of the standard library, are read here. A ``msgspec.Struct`` and a model of pydantic are read
by their own library, which is imported only where such a type is given. An error never shows a value: what stands where
a number was expected may be a password.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Literal, TypeVar, Union, cast

from hrpc.errors import InvalidConfig
from hrpc.redaction import REDACTED, Redaction

T = TypeVar("T")

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_LISTS: tuple[Any, ...] = (list, set, frozenset, tuple, Sequence, Collection)

_source: ContextVar[str] = ContextVar("source of a value", default="configs")
"""What is read at the moment, for the log."""


class Refused(ValueError):
    """A value is not what was expected: at which `field`, empty for the whole, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


def read(kind: type[T], key: str, text: bytes) -> T:
    """The value of a key as a `kind`: the text as it is for `str`, else what its JSON says. Raises `InvalidConfig`."""
    return read_text(kind, f"key {key!r}", text, hidden=is_secret(key.rpartition("/")[2]))


def read_text(kind: type[T], origin: str, text: bytes, *, hidden: bool = False) -> T:
    """The same for what has come from elsewhere; `hidden`: nothing of it is shown, whatever it is called."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise InvalidConfig(origin, None, "text in UTF-8", "other bytes") from None
    if kind is str:
        return cast(T, decoded)
    try:
        value = json.loads(decoded, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise InvalidConfig(origin, None, "JSON", f"what is not JSON ({_place_of(error)})") from None
    try:
        return decode(kind, value, source=origin)
    except Refused as refused:
        reason = without(refused.reason, secrets(value, hidden))
        raise InvalidConfig.because(origin, refused.field or None, reason) from None


def decode(kind: type[T], value: Any, field: str = "", *, source: str = "configs") -> T:
    """A value of JSON as a `kind`; the log names its `source`.

    Raises `Refused`, and TypeError for a type that is not read here.
    """
    within = _source.set(source)
    try:
        return cast(T, _decode(kind, value, field))
    finally:
        _source.reset(within)


def is_secret(name: str) -> bool:
    """Whether what has this name is never shown: passwords, tokens and the like."""
    return _redaction().hides(name)


@cache
def _redaction() -> Redaction:
    return Redaction(())  # made when it is needed: it compiles a pattern


def secrets(value: Any, hidden: bool = False) -> Iterator[str]:
    """The texts in a value of JSON that are not shown, by the names above them; all of them where it is `hidden`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from secrets(inner, hidden or is_secret(name))
    elif isinstance(value, list):
        for inner in value:
            yield from secrets(inner, hidden)
    elif isinstance(value, str) and value and (hidden or ("://" in value and "@" in value)):
        yield value
    elif hidden and isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def without(reason: str, hidden: Iterable[str]) -> str:
    """The reason of a refusal in one line, which may come from a class of the user, without the secrets in it."""
    for secret in sorted(set(hidden), key=len, reverse=True):
        reason = reason.replace(secret, REDACTED)
    return " ".join(reason.split())


def _not_json(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _place_of(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}: {error.msg}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else "a number that cannot be"


def _decode(kind: Any, value: Any, field: str) -> Any:
    if kind in (Any, object):
        return value
    if isinstance(kind, type) and kind in _WORDS:
        return _plain(kind, value, field)
    if kind is None:
        return _plain(type(None), value, field)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _decode(arguments[0], value, field)
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, field)
    if origin is Literal:
        return _choice([(choice, choice) for choice in arguments], value, field)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _choice([(member.value, member) for member in kind], value, field)
    if (reader := _reader_of(kind)) is not None:
        return reader(kind, value, field)
    if (origin or kind) in _LISTS:
        return _many(origin or kind, arguments, value, field)
    if origin in (dict, Mapping):
        return _mapping(arguments, value, field)
    if (meant := getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None)) is not None:
        return _decode(meant, value, field)  # of a NewType, or of a `type` statement
    raise TypeError(
        f"hrpc.configs: does not read {kind!r}; it reads dataclasses, msgspec.Struct, pydantic models, enums, and str, "
        "int, float, bool, None, list, tuple, set, dict, Literal, Any and unions of such"
    )


def _reader_of(kind: Any) -> Callable[[Any, Any, str], Any] | None:
    if hasattr(kind, "__pydantic_validator__"):
        return _pydantic
    if hasattr(kind, "__struct_fields__"):
        return _struct
    return _dataclass if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def _plain(kind: type, value: Any, field: str) -> Any:
    if kind is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            raise Refused(field, "expected a number, found one that is too large") from None
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise _unexpected(field, _WORDS[kind], value)
    return value


def _one_of(kinds: Sequence[Any], value: Any, field: str) -> Any:
    wanted = [kind for kind in kinds if kind not in (None, type(None))]
    if value is None and len(wanted) < len(kinds):
        return None
    refusals = []
    for kind in wanted:
        try:
            return _decode(kind, value, field)
        except Refused as refused:
            refusals.append(refused)
    # Of several, the one that came furthest is what was meant.
    furthest = max(refusals, key=lambda refused: len(refused.field))
    if len(refusals) == 1 or furthest.field != field:
        raise furthest
    raise _unexpected(field, " or ".join(_called(kind) for kind in kinds), value)


def _choice(choices: Sequence[tuple[Any, Any]], value: Any, field: str) -> Any:
    for choice, meant in choices:
        if type(choice) is type(value) and choice == value:
            return meant
    raise _unexpected(field, " or ".join(repr(choice) for choice, _ in choices), value)


def _many(kind: Any, kinds: Sequence[Any], value: Any, field: str) -> Any:
    if type(value) is not list:
        raise _unexpected(field, _WORDS[list], value)
    if kind is tuple and kinds and kinds[-1] is not Ellipsis:
        if len(value) != len(kinds):
            raise Refused(field, f"expected a list of {len(kinds)}, found one of {len(value)}")
        each: Sequence[Any] = kinds
    else:
        each = [kinds[0] if kinds else Any] * len(value)
    found = [_decode(one, item, f"{field}[{i}]") for i, (one, item) in enumerate(zip(each, value, strict=True))]
    if kind not in (set, frozenset, tuple):
        return found
    try:
        return kind(found)
    except TypeError:
        raise Refused(field, "expected values that can be members of a set") from None


def _mapping(kinds: Sequence[Any], value: Any, field: str) -> dict[Any, Any]:
    if type(value) is not dict:
        raise _unexpected(field, _WORDS[dict], value)
    names, inner = kinds
    return {_decode(names, name, field): _decode(inner, item, _below(field, name)) for name, item in value.items()}


@lru_cache(256)
def declared(kind: Any) -> Mapping[str, tuple[Any, bool]]:
    """The fields of a dataclass that its `__init__` takes: their types, and whether they have to be given."""
    hints = typing.get_type_hints(kind, include_extras=True)
    missing = dataclasses.MISSING
    return {
        one.name: (hints[one.name], one.default is missing and one.default_factory is missing)
        for one in dataclasses.fields(kind)
        if one.init
    }


def _dataclass(kind: Any, value: Any, field: str) -> Any:
    if type(value) is not dict:
        raise _unexpected(field, _WORDS[dict], value)
    known = declared(kind)
    given = {name: _decode(known[name][0], value[name], _below(field, name)) for name in value if name in known}
    for name, (one, required) in known.items():
        if required and name not in given:
            raise Refused(_below(field, name), f"expected {_called(one)}, found nothing")
    if unknown := sorted(set(value) - set(known)):
        from loguru import logger

        place, them = _source.get(), ", ".join(unknown)
        logger.warning("{}: {} has no fields {}; they are ignored", place, kind.__qualname__, them)
    try:
        return kind(**given)
    except Exception as error:  # checks of the class itself: whatever they raise refuses the value
        raise Refused(field, f"{kind.__qualname__} refuses it: {error}") from error


def _struct(kind: Any, value: Any, field: str) -> Any:
    import msgspec

    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        raise Refused(_joined(field, place.rstrip("`").lstrip(".")), reason) from error


def _pydantic(kind: Any, value: Any, field: str) -> Any:
    # The validator is pydantic's own, so that it need not be imported here. Its error as a text shows the input.
    try:
        return kind.__pydantic_validator__.validate_json(json.dumps(value))
    except ValueError as error:
        if not hasattr(error, "errors"):
            raise
        first = cast(Any, error).errors(include_url=False, include_input=False, include_context=False)[0]
        place = ""
        for part in first["loc"]:
            place = f"{place}[{part}]" if isinstance(part, int) else _below(place, part)
        raise Refused(_joined(field, place), first["msg"]) from error


def _below(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _joined(field: str, place: str) -> str:
    return field + place if not field or not place or place.startswith("[") else f"{field}.{place}"


def _unexpected(field: str, expected: str, value: Any) -> Refused:
    fraction = type(value) is float and expected == _WORDS[int]
    return Refused(field, f"expected {expected}, found {'a fraction' if fraction else _called(type(value))}")


def _called(kind: Any) -> str:
    if kind is None:
        return "null"
    if isinstance(kind, type) and kind in _WORDS:
        return _WORDS[kind]
    if (typing.get_origin(kind) or kind) in _LISTS:
        return _WORDS[list]
    return getattr(kind, "__qualname__", None) or str(kind)
