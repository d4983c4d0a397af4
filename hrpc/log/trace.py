"""The trace of the call in which a line is logged."""

from __future__ import annotations

from hrpc import context


def current_trace() -> dict[str, str]:
    """``trace_id`` and ``span_id`` of the current context; nothing outside of one."""
    current = context.current()
    if current is None:
        return {}
    return {"trace_id": current.trace_id, "span_id": current.span_id}
