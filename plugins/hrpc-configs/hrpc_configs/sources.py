"""Where settings are written: files and the environment."""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from hrpc.configs import decoding
from hrpc.errors import InvalidConfig, OptionError
from hrpc_configs.fields import fields, is_class
from hrpc_configs.merging import Path, Source

_FORMATS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    ".toml": ("TOML", tomllib.loads),
    ".json": ("JSON", json.loads),
}


def checked_file(file: str | FilePath) -> FilePath:
    """A path whose format is known by its end. Raises `OptionError`."""
    path = FilePath(file)
    if path.suffix not in _FORMATS:
        raise OptionError(f"hrpc_configs.Settings(file={str(file)!r}): its name has to end in {' or '.join(_FORMATS)}")
    return path


def read_file(path: FilePath) -> Source:
    """What a file says. Raises `InvalidConfig`."""
    origin, (language, parse) = f"file {str(path)!r}", _FORMATS[path.suffix]
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfig.because(origin, None, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        told = "bytes that are not UTF-8" if isinstance(error, UnicodeDecodeError) else f"what is not ({error})"
        raise InvalidConfig(origin, None, language, told) from None
    if not isinstance(found, dict):
        raise InvalidConfig(origin, None, "fields with values", "something else")
    return Source(origin, _as_in_json(found))


def _as_in_json(value: Any) -> Any:
    """TOML has times, which JSON has as texts."""
    if isinstance(value, dict):
        return {name: _as_in_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_in_json(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def read_environment(kind: Any, prefix: str, environ: Mapping[str, str]) -> list[Source]:
    """What variables say, each a source of its own. An empty variable counts as not set."""
    found = []
    for variable, path, wanted in variables(kind, prefix):
        if text := environ.get(variable):
            value = _value(text, wanted)
            for name in reversed(path):
                value = {name: value}
            found.append(Source(f"variable {variable}", value))
    return found


def variables(
    kind: Any, prefix: str, above: tuple[str, ...] = (), seen: tuple[Any, ...] = ()
) -> Iterator[tuple[str, Path, Any]]:
    """The names of variables, each with the path of its field and its type; that of a class before its fields'.

    They are ``{PREFIX}{FIELD}``, and ``{PREFIX}{FIELD}__{FIELD}`` for a field of a field.
    """
    for name, field in fields(kind).items():
        path = (*above, name)
        yield prefix + "__".join(path).upper().replace("-", "_"), path, field.kind
        if is_class(field.kind) and field.kind not in seen:
            yield from variables(field.kind, prefix, path, (*seen, kind))


def _value(text: str, kind: Any) -> Any:
    """What a variable means: the text as it is where that fits the type, else the JSON in it."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if is_class(kind):
        return parsed
    for meant in (text, parsed):
        try:
            decoding.decode(kind, meant)
        except decoding.Refused:
            continue
        except TypeError:  # a type that only msgspec or pydantic reads: from a text, as they do with times
            return text
        return meant
    return parsed
