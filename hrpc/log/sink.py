"""Where log lines go, and what a line looks like."""

from __future__ import annotations

import inspect
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from loguru import logger

from hrpc import _runtime, context

if TYPE_CHECKING:
    from loguru import Message

_TIME = "%Y-%m-%d %H:%M:%S"
_PACIFIC = ZoneInfo("America/Los_Angeles")
_BEIJING = ZoneInfo("Asia/Shanghai")
_HUMAN = "<dim>{time:HH:mm:ss.SSS}</dim> <level>{level: <7}</level> {message}{extra[_fields]}"


@contextmanager
def installed(runtime: _runtime.Runtime, environment: str, level: str = "INFO") -> Iterator[None]:
    """Sends what loguru and the standard library log to this process' output, while the context lasts."""

    def is_ours(_: object) -> bool:
        return _runtime.current() in (runtime, None)

    # The sink that loguru has from the beginning would print every line a second time.
    had_default = False
    for default in _runtime.default_log_sinks:
        with suppress(ValueError):
            logger.remove(default)
            had_default = True
    if sys.stderr.isatty():
        number = logger.add(_human_sink, format=_human_format, level=level, filter=is_ours, colorize=True)
    else:
        to_json = _JsonSink(runtime.server_name, environment)
        number = logger.add(to_json, format="{message}", level=level, filter=is_ours)
    router = _IntoLoguru()
    root = logging.getLogger()
    before = root.level
    root.addHandler(router)
    root.setLevel(level)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(router)
        logger.remove(number)
        if had_default:
            _runtime.default_log_sinks[:] = [logger.add(sys.stderr)]


class _JsonSink:
    def __init__(self, server_name: str, environment: str) -> None:
        self._server = {"environment": environment, "server_name": server_name}

    def __call__(self, message: Message) -> None:
        sys.stdout.write(json.dumps(self._line(message.record), default=str, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def _line(self, record: Any) -> dict[str, Any]:
        extra = dict(record["extra"])
        line = {
            "level": record["level"].name.lower(),
            "msg": record["message"],
            "category": extra.pop("category", "log"),
            "trace_id": extra.pop("trace_id", None) or _trace_id(),
            "pst_time": record["time"].astimezone(_PACIFIC).strftime(_TIME),
            "bj_time": record["time"].astimezone(_BEIJING).strftime(_TIME),
            "file_name": f"{record['file'].name}:{record['line']}",
            "package": record["name"] or "",
            **self._server,
        }
        if record["exception"] is not None:
            line["detail"] = "".join(traceback.format_exception(record["exception"].value)).rstrip()
        return {**extra, **line}


def _human_sink(message: Message) -> None:
    sys.stderr.write(message)
    sys.stderr.flush()


def _human_format(record: Any) -> str:
    fields = {"trace_id": _trace_id(), **record["extra"]}
    shown = " ".join(f"{key}={value}" for key, value in fields.items() if value and not key.startswith("_"))
    record["extra"]["_fields"] = f"  {shown}" if shown else ""
    return _HUMAN + "\n{exception}"


def _trace_id() -> str:
    current = context.current()
    return current.trace_id if current is not None else ""


class _IntoLoguru(logging.Handler):
    """Hands records of the standard library's logging to loguru, as if logged where they were."""

    def emit(self, record: logging.LogRecord) -> None:
        level: str | int = record.levelno
        with suppress(ValueError):
            level = logger.level(record.levelname).name
        frame, depth = inspect.currentframe(), 0
        while frame is not None and (depth == 0 or frame.f_code.co_filename == logging.__file__):
            frame = frame.f_back
            depth += 1
        logger.opt(depth=depth, exception=record.exc_info).log(level, "{}", record.getMessage())
