"""The trace of the call in which a line is logged."""

from __future__ import annotations

from typing import Any

from hrpc import context


def current_trace() -> dict[str, str]:
    """``trace_id`` and ``span_id`` of the current context; empty ones outside of one."""
    current = context.current()
    if current is None:
        return {"trace_id": "", "span_id": ""}
    return {"trace_id": current.trace_id, "span_id": current.span_id}


def add_trace(record: Any) -> Any:
    """Puts ``trace_id`` and ``span_id`` on a line for sinks and handlers of your own; the server's have them anyway.

    It is a patcher for loguru and a filter for the standard library's logging, and lets every line through::

        logger.configure(patcher=log.add_trace)         # {extra[trace_id]} in the format of a sink
        handler.addFilter(log.add_trace)                # %(trace_id)s in that of a handler
    """
    fields = record["extra"] if isinstance(record, dict) else record.__dict__
    for name, value in current_trace().items():
        fields.setdefault(name, value)
    return True
