"""What the arguments of locks have to be."""

from __future__ import annotations

from hrpc.errors import OptionError

SHORTEST_TTL = 0.1
_LONGEST_NAME = 512


def name(where: str, value: str) -> str:
    """A name that can stand in a key. Raises `OptionError`."""
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > _LONGEST_NAME:
        raise OptionError(f"{where}: takes a name of at most {_LONGEST_NAME} printable characters, not {value!r:.80}")
    if "{" in value or "}" in value:
        raise OptionError(f"{where}: {value!r:.80}: braces mean something else in keys of Redis; choose another name")
    return value


def seconds(where: str, what: str, value: float, *, least: float = 0.0) -> float:
    """A number of seconds. Raises `OptionError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise OptionError(f"{where}: {what}={value!r}: takes seconds, {least:g} at least")
    return float(value)
