"""Logging: loguru, set up for the time a server runs.

Machines get one JSON object a line on stdout, with the fields of the Go framework; a person at a terminal (stderr is
one) gets readable lines there. The standard library's logging is led into the same sink.

::

    from hrpc import log

    log.info("order {} paid", order_id)
"""

from __future__ import annotations

from typing import Any

from hrpc import _runtime


def debug(message: str, *args: Any, **fields: Any) -> None:
    """Logs at level DEBUG; `args` and `fields` fill the braces of the message, `fields` are also logged as fields."""
    _log("DEBUG", message, args, fields)


def info(message: str, *args: Any, **fields: Any) -> None:
    """Logs at level INFO."""
    _log("INFO", message, args, fields)


def warning(message: str, *args: Any, **fields: Any) -> None:
    """Logs at level WARNING."""
    _log("WARNING", message, args, fields)


def error(message: str, *args: Any, **fields: Any) -> None:
    """Logs at level ERROR."""
    _log("ERROR", message, args, fields)


def _log(level: str, message: str, args: tuple[Any, ...], fields: dict[str, Any]) -> None:
    from loguru import logger

    runtime = _runtime.current()
    skip = 1 if runtime is None else runtime.stack_skip
    # Two frames are always ours: this function and its caller in this module.
    logger.bind(**fields).opt(depth=skip + 1).log(level, message, *args, **fields)
