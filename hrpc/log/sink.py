"""Where log lines go, and what a line looks like."""

from __future__ import annotations

import inspect
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from loguru import logger

from hrpc import _runtime
from hrpc.log.audit_line import AuditFormat, HumanFormat, JsonFormat, said_of
from hrpc.log.file_output import FileOutput
from hrpc.log.output import Output
from hrpc.log.times import TIME, ZONES
from hrpc.log.trace import current_trace
from hrpc.log.writer import Writer

if TYPE_CHECKING:
    from loguru import Message

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
"""What every record of the standard library has; anything else comes from its ``extra``."""

_LAST_LINES = 1.0
"""Seconds at the end for lines that nobody has read yet; more than that, and the output is stuck."""

_HUMAN = "<dim>{time:HH:mm:ss.SSS}</dim> <level>{level: <7}</level> {message}{extra[_fields]}"


class Log(NamedTuple):
    """Where the lines of a server go, and what those of its calls look like there."""

    writer: Writer
    calls: AuditFormat
    reopen: Callable[[], None]
    """Opens its file anew, where it has one."""


@contextmanager
def installed(
    runtime: _runtime.Runtime,
    environment: str,
    level: str = "INFO",
    file: str | None = None,
    zones: Mapping[str, tzinfo] | None = None,
) -> Iterator[Log]:
    """Sends what loguru and the standard library log to this process' output, or to `file`, while the context lasts.

    `zones` are those of the fields that say the time, by name; None for those of the Go framework.
    """
    zones = ZONES if zones is None else zones

    def is_ours(_: object) -> bool:
        return _runtime.current() in (runtime, None)

    human = file is None and _is_terminal()
    server = said_of(environment, runtime.server_name, runtime.worker)
    calls = HumanFormat(runtime.worker) if human else JsonFormat(server, zones)
    output = Output("stderr" if human else "stdout", shared=runtime.worker is not None)
    if file is not None:
        output = FileOutput(file, output)
    writer = Writer(output, calls.dropped)
    sink = writer.write if human else _JsonSink(writer, server, zones)
    text = partial(_human_format, runtime.worker) if human else _message_only
    # Values of variables can be secrets, and can take long to print.
    number = logger.add(sink, format=text, level=level, filter=is_ours, colorize=human, backtrace=False, diagnose=False)
    _enter_process(level)
    try:
        yield Log(writer, calls, output.reopen)
    finally:
        _leave_process()
        # A service that sets up loguru by itself may have removed it.
        with suppress(ValueError):
            logger.remove(number)
        writer.close(_LAST_LINES)
        output.close()


def _is_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _enter_process(level: str) -> None:
    """Takes loguru's default sink away, and routes the standard library's logging; the first server does it."""
    log = _runtime.process_log
    with log.lock:
        log.servers += 1
        if log.servers > 1:
            return
        # The sink that loguru has from the beginning would print every line a second time.
        with suppress(ValueError):
            if log.default_sink is not None:
                logger.remove(log.default_sink)
                log.default_sink = None
        router, root = _IntoLoguru(), logging.getLogger()
        before = root.level

        def undo() -> None:
            root.removeHandler(router)
            root.setLevel(before)

        log.undo = undo
        root.addHandler(router)
        root.setLevel(level)


def _leave_process() -> None:
    """Puts back what `_enter_process` changed; the last server does it."""
    log = _runtime.process_log
    with log.lock:
        log.servers -= 1
        if log.servers:
            return
        log.undo()
        if log.default_sink is None and sys.stderr is not None and not sys.stderr.closed:
            log.default_sink = logger.add(sys.stderr)


def _message_only(_: object) -> str:
    # Not as a plain string: loguru would add the text of the exception, which the sink has anyway.
    return "{message}"


class _JsonSink:
    def __init__(self, writer: Writer, server: Mapping[str, object], zones: Mapping[str, tzinfo]) -> None:
        self._writer = writer
        self._server = server
        self._zones = zones

    def __call__(self, message: Message) -> None:
        line = self._line(message.record)
        try:
            text = json.dumps(line, default=str, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            # A line is never lost over a field that JSON does not know.
            text = json.dumps({key: str(value) for key, value in line.items()}, ensure_ascii=False)
        self._writer.write(text + "\n")

    def _line(self, record: Any) -> dict[str, Any]:
        extra, trace = dict(record["extra"]), current_trace()
        line = {
            "level": record["level"].name.lower(),
            "msg": record["message"],
            "category": extra.pop("category", "log"),
            "trace_id": extra.pop("trace_id", None) or trace["trace_id"],
            "span_id": extra.pop("span_id", None) or trace["span_id"],
            **{name: record["time"].astimezone(zone).strftime(TIME) for name, zone in self._zones.items()},
            "file_name": f"{record['file'].name}:{record['line']}",
            "package": record["name"] or "",
            **self._server,
        }
        if record["exception"] is not None:
            line["detail"] = "".join(traceback.format_exception(record["exception"].value)).rstrip()
        return {**extra, **line}


def _human_format(worker: int | None, record: Any) -> str:
    fields = {"worker": worker, "trace_id": current_trace()["trace_id"], **record["extra"]}
    fields.pop("span_id", None)
    shown = " ".join(
        f"{key}={value}" for key, value in fields.items() if value and not key.startswith("_") and key != "span_id"
    )
    record["extra"]["_fields"] = f"  {shown}" if shown else ""
    return _HUMAN + "\n{exception}"


class _IntoLoguru(logging.Handler):
    """Hands records of the standard library's logging to loguru, as if logged where they were."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # A slip in somebody's call: it is reported as the standard handlers do, and not raised into the caller.
            self.handleError(record)
            return
        level: str | int = record.levelno
        with suppress(ValueError):
            level = logger.level(record.levelname).name
        frame, depth = inspect.currentframe(), 0
        while frame is not None and (depth == 0 or frame.f_code.co_filename == logging.__file__):
            frame = frame.f_back
            depth += 1
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        logger.bind(**fields).opt(depth=depth, exception=record.exc_info).log(level, "{}", message)
