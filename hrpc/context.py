"""What a call carries from service to service: its trace, who asked, and until when.

The wire form is the JSON of the Go framework in the metadata key ``hrpc_md_message``, so that services of both share a
trace::

    {"server_name":"orders","trace_id":"…","request_timeout":1000000000,"namespace":"Dev","client_info":{"ip":"…","ua":"…"}}

``request_timeout`` is in nanoseconds; 0 means that none was given.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any

METADATA_KEY = "hrpc_md_message"
BACKGROUND_TIMEOUT = 3.0
"""Seconds for work outside of a request, as in the Go framework."""

# A message of ours is under 500 bytes; gRPC's default limit for all metadata of a call is 8 KiB.
_LONGEST_MESSAGE = 8192
_LONGEST_TIMEOUT_NS = 2**63 - 1


@dataclass(slots=True)
class Context:
    """One call's context. `deadline` is in seconds of `time.monotonic`; None when there is no limit."""

    trace_id: str
    server_name: str = ""
    namespace: str = ""
    client_ip: str = ""
    user_agent: str = ""
    deadline: float | None = None

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; None when there is no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def message(self, server_name: str) -> str:
        """The wire form for a call that `server_name` makes in this context."""
        remaining = self.time_remaining()
        return json.dumps(
            {
                "server_name": server_name,
                "trace_id": self.trace_id,
                "request_timeout": 0 if remaining is None else int(remaining * 1e9),
                "namespace": self.namespace,
                "client_info": {"ip": self.client_ip, "ua": self.user_agent},
            },
            separators=(",", ":"),
        )


_current: ContextVar[Context | None] = ContextVar("hrpc_context", default=None)


def current() -> Context | None:
    """The context of the call that is being served, or of `background_context`; None outside of both."""
    return _current.get()


def enter(context: Context) -> Token[Context | None]:
    """Makes `context` the current one, of this task and of those that it starts from now on."""
    return _current.set(context)


def leave(token: Token[Context | None]) -> None:
    """Undoes the `enter` that gave `token`."""
    _current.reset(token)


@contextmanager
def entered(context: Context) -> Iterator[Context]:
    """Makes `context` the current one."""
    token = enter(context)
    try:
        yield context
    finally:
        leave(token)


@contextmanager
def background_context(timeout: float | None = BACKGROUND_TIMEOUT) -> Iterator[Context]:
    """A context for work outside of a request: a new trace, and `timeout` seconds (None for no limit).

    ::

        with hrpc.background_context() as context:
            await users.Refresh(request, timeout=context.time_remaining())
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with entered(Context(new_trace_id(), deadline=deadline)) as context:
        yield context


def new_trace_id() -> str:
    """32 hexadecimal digits, not all zero: the trace-id of W3C Trace Context."""
    return f"{random.getrandbits(128) or 1:032x}"


def from_metadata(metadata: Any) -> Context:
    """The context of an incoming call. What is missing, too long or not of its type is as if it had not been sent."""
    for key, value in metadata or ():
        if key == METADATA_KEY:
            return _from_message(value)
    return Context(new_trace_id())


def _from_message(text: str | bytes) -> Context:
    try:
        message = json.loads(text) if len(text) <= _LONGEST_MESSAGE else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        return Context(new_trace_id())
    client = message.get("client_info")
    client = client if isinstance(client, dict) else {}
    return Context(
        trace_id=_text(message, "trace_id") or new_trace_id(),
        server_name=_text(message, "server_name"),
        namespace=_text(message, "namespace"),
        client_ip=_text(client, "ip"),
        user_agent=_text(client, "ua"),
        deadline=_deadline(message.get("request_timeout")),
    )


def _text(message: dict[str, Any], field: str) -> str:
    value = message.get(field)
    # It goes into logs: a line break would forge a line, half a character would lose one.
    return value if isinstance(value, str) and value.isprintable() else ""


def _deadline(nanoseconds: object) -> float | None:
    if type(nanoseconds) is not int or not 0 < nanoseconds <= _LONGEST_TIMEOUT_NS:
        return None
    return time.monotonic() + nanoseconds / 1e9
