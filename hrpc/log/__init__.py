"""Logging: loguru, set up for the time a server runs.

Machines get one JSON object a line on stdout, with the fields of the Go framework; a person at a terminal (stderr is
one) gets readable lines there. The standard library's logging is led into the same sink. Whatever a handler logs, by
either or by this module, has the trace of its call. docs/logging.md has the fields.

::

    from hrpc import log

    log.info("order {} paid", order_id)

    orders = log.with_fields(order=order_id)
    orders.info("paid")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hrpc import _runtime
from hrpc.log.trace import add_trace

__all__ = ["Logger", "add_trace", "debug", "error", "info", "warning", "with_fields"]


class Logger:
    """Logs lines that have the same fields, as `with_fields` gives it. It holds nothing but these."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)

    def with_fields(self, **fields: Any) -> Logger:
        """A logger with these fields as well; they win over those of the same names."""
        return Logger({**self._fields, **fields})

    def debug(self, message: str, /, *args: Any, **fields: Any) -> None:
        """Logs at level DEBUG."""
        _log("DEBUG", message, args, fields, self._fields)

    def info(self, message: str, /, *args: Any, **fields: Any) -> None:
        """Logs at level INFO."""
        _log("INFO", message, args, fields, self._fields)

    def warning(self, message: str, /, *args: Any, **fields: Any) -> None:
        """Logs at level WARNING."""
        _log("WARNING", message, args, fields, self._fields)

    def error(self, message: str, /, *args: Any, **fields: Any) -> None:
        """Logs at level ERROR."""
        _log("ERROR", message, args, fields, self._fields)


def with_fields(**fields: Any) -> Logger:
    """A logger whose lines all have these fields, beside those of the single call."""
    return Logger(fields)


def debug(message: str, /, *args: Any, **fields: Any) -> None:
    """Logs at level DEBUG; `args` and `fields` fill the braces of the message, `fields` are also logged as fields."""
    _log("DEBUG", message, args, fields)


def info(message: str, /, *args: Any, **fields: Any) -> None:
    """Logs at level INFO."""
    _log("INFO", message, args, fields)


def warning(message: str, /, *args: Any, **fields: Any) -> None:
    """Logs at level WARNING."""
    _log("WARNING", message, args, fields)


def error(message: str, /, *args: Any, **fields: Any) -> None:
    """Logs at level ERROR."""
    _log("ERROR", message, args, fields)


def _log(
    level: str, message: str, args: tuple[Any, ...], fields: dict[str, Any], shared: Mapping[str, Any] | None = None
) -> None:
    from loguru import logger

    runtime = _runtime.current()
    skip = 1 if runtime is None else runtime.stack_skip
    # Two frames are always ours: this function and its caller in this module.
    logger.bind(**{**(shared or {}), **fields}).opt(depth=skip + 1).log(level, message, *args, **fields)
