"""Reads the settings of a database or a message queue, given in code or stored in Consul KV, into a frozen dataclass.

A settings class declares each field with what it may be::

    @dataclass(frozen=True, slots=True)
    class CacheSettings(Settings):
        address: str = setting(HOST)                       # without a default: has to be given
        port: int = setting(integer(1, 65535), 6379)
        password: str = setting(PASSWORD, "")

A value of None is as one that was not given, as JSON's null is to the Go framework. Nothing is converted silently: the
text "3306" is no number, as in Go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from hrpc.abc import StoredSettings
from hrpc.errors import DatabaseError, InvalidConfig, OptionError, QueueError
from hrpc.recipe import servers


class Secret(str):
    """A text that shows itself to nobody but a driver: `repr`, `str` and formatting give asterisks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"

    def __str__(self) -> str:
        return "***" if self else ""

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a setting may be, in words and as a test; `keep` gives the form in which it is kept.

    Without `echo`, an error does not show the value that was found.
    """

    expected: str
    accepts: Callable[[Any], bool]
    keep: Callable[[Any], Any] = lambda value: value
    echo: bool = True


E = TypeVar("E", bound=DatabaseError | QueueError)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one database or message queue; `origin` says in errors where they stand."""

    origin: str

    def fault(self, kind: type[E], message: str) -> E:
        """An error of what has these settings, which is told apart from those of others by where they stand."""
        error = kind(message)
        error.origin = self.origin
        return error

    def is_own(self, error: BaseException) -> bool:
        """Whether an error is of what has these settings, as far as it says."""
        return getattr(error, "origin", None) in (None, self.origin)


S = TypeVar("S", bound=Settings)


def setting(kind: Kind, default: Any = MISSING) -> Any:
    """A field of a settings class; without a default it has to be given."""
    # Not given is None, so that subclasses may declare fields in any order; `complete` never lets one through.
    required = default is MISSING
    return field(default=None if required else default, metadata={"kind": kind, "required": required})


def integer(low: int, high: int | None = None) -> Kind:
    """A whole number of at least `low` and at most `high`."""
    expected = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    # bool is an int to Python, but not to JSON
    return Kind(expected, lambda value: type(value) is int and low <= value <= (value if high is None else high))


def one_of(*choices: str) -> Kind:
    """One of a few texts."""
    return Kind(" or ".join(f"{choice!r}" for choice in choices), lambda value: value in choices)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_path(value: object) -> bool:
    return isinstance(value, str) and _is_text(value) and "/" in value and "@" not in value


def _is_duration(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]


TEXT = Kind("a text that is not empty", _is_text)
# Not shown in errors, because what stands here by mistake is often a DSN, with the password in it.
SERVERS = Kind(
    "a host name or an IP address, or several of them, as in 'a,b:3307', with the user in a field of its own",
    lambda value: servers.parsed(value, 1) is not None,
    servers.joined,
    echo=False,
)
SERVERS_OR_PATH = Kind(
    "a host name or an IP address, or several of them, as in 'a,b:6380', or the path of a socket",
    lambda value: _is_path(value) or servers.parsed(value, 1) is not None,
    servers.joined,
    echo=False,
)
PATH = Kind("the path of a PEM file", _is_text, str)
ANY_TEXT = Kind("a text", lambda value: isinstance(value, str))
PASSWORD = Kind("a text", lambda value: isinstance(value, str), Secret, echo=False)
SECONDS = Kind("a number of seconds above 0", _is_duration, float)
BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))


def read_given(settings: type[S], origin: str, values: Mapping[str, object]) -> dict[str, Any]:
    """The settings given in code, checked. Raises `OptionError` for an unknown name and `InvalidConfig` for a value."""
    known = _declared(settings)
    for name in values:
        if name not in known:
            raise OptionError(f"{origin}: there is no setting {name!r}; the settings are {', '.join(known)}")
    return _checked(known, origin, values)


def read_stored(settings: type[S], stored: StoredSettings) -> dict[str, Any]:
    """The settings stored under a key, checked. Raises `InvalidConfig`.

    Fields that hrpc does not know are ignored and named in the log: a service in another language may share the key.
    """
    if not isinstance(stored.values, Mapping):
        raise InvalidConfig(stored.key, None, "a JSON object", _type_of(stored.values))
    known = _declared(settings)
    if unknown := sorted(set(stored.values) - set(known)):
        from loguru import logger

        logger.warning("{}: ignored unknown fields: {}", stored.key, ", ".join(unknown))
    return _checked(known, stored.key, stored.values)


def complete(settings: type[S], origin: str, values: Mapping[str, Any]) -> S:
    """The settings as a whole. Raises `InvalidConfig` when one that has no default is missing."""
    for name, declared in _declared(settings).items():
        if declared.metadata["required"] and name not in values:
            raise InvalidConfig(origin, name, declared.metadata["kind"].expected, "nothing")
    return settings(origin=origin, **values)


def _declared(settings: type[Settings]) -> dict[str, Field[Any]]:
    return {declared.name: declared for declared in fields(settings) if "kind" in declared.metadata}


def _checked(known: Mapping[str, Field[Any]], origin: str, values: Mapping[str, object]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, declared in known.items():
        value, kind = values.get(name), declared.metadata["kind"]
        if value is None:
            continue
        if not kind.accepts(value):
            found = f"{_type_of(value)}: {value!r}" if kind.echo and _is_short(value) else _type_of(value)
            raise InvalidConfig(origin, name, kind.expected, found)
        checked[name] = kind.keep(value)
    return checked


def _is_short(value: object) -> bool:
    return isinstance(value, bool | int | float | str) and len(str(value)) <= 80


def _type_of(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")
