"""What a call carries from service to service: its trace, who asked, and until when.

Two wire forms are read and written side by side. The JSON of the Go framework in the metadata key ``hrpc_md_message``,
so that services of both share a trace::

    {"server_name":"orders","trace_id":"…","request_timeout":1000000000,"namespace":"Dev","client_info":{"ip":"…","ua":"…"}}

(``request_timeout`` is in nanoseconds; 0 is as none. The Go framework takes 0 for a call that is over, so that a call
without a limit is sent with one of 285 years, which is read as none.) And W3C Trace Context and Baggage in
``traceparent``, ``tracestate`` and ``baggage`` (https://www.w3.org/TR/trace-context/, https://www.w3.org/TR/baggage/).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from functools import lru_cache
from random import getrandbits
from typing import Any
from urllib.parse import unquote

METADATA_KEY = "hrpc_md_message"
TRACEPARENT, TRACESTATE, BAGGAGE = "traceparent", "tracestate", "baggage"
BACKGROUND_TIMEOUT = 3.0
"""Seconds for work outside of a request, as in the Go framework."""

# A message of ours is under 500 bytes; W3C's limit for baggage, and gRPC's default for all metadata of a call, is this.
_LONGEST = 8192
_LONGEST_NAME = 256
_IDS_AT_ONCE = 128
_LONGEST_TIMEOUT_NS = 2**63 - 1
_LONGEST_TIMEOUT = 9e9  # seconds; Go throws a message away whose number is longer
_NO_TIMEOUT_NS = int(_LONGEST_TIMEOUT * 1e9)
# What json.loads calls, less its search for spaces, which takes as long as reading a message of ours.
_decode = json.JSONDecoder().raw_decode
_LISTS = (TRACESTATE, BAGGAGE)
_READ = frozenset((METADATA_KEY, TRACEPARENT, TRACESTATE, BAGGAGE, "user-agent"))
# A version above 00 may carry more fields, but in these places the same ones.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_W3C_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")


class Context:
    """One call's context. `deadline` is in seconds of `time.monotonic`; None when there is no limit.

    `server_name` is the service that calls, `client_ip` and `user_agent` are those of the client at the edge, or of the
    direct caller when nobody told. `span_id` is this call's own, `parent_span_id` the caller's. `sampled` is the
    caller's decision about tracing, None when there was none. `tracestate` and `baggage` are passed on as they came.
    """

    # Defaults of the class: a call sets what it has, and most have little.
    server_name: str = ""
    method: str = ""
    """The method that is being served, ``/package.Service/Method``; empty outside of a call."""
    namespace: str = ""
    client_ip: str = ""
    user_agent: str = ""
    deadline: float | None = None
    parent_span_id: str = ""
    sampled: bool | None = None
    tracestate: str = ""
    baggage: str = ""
    w3c: str = ""
    """The trace ID of ``traceparent`` when it is not `trace_id`, which another system may have made in its own form."""
    identity: Any = None
    """What the function of `hrpc.with_auth` has returned. It stays in this service."""

    def __init__(self, trace_id: str, span_id: str = "") -> None:
        self.trace_id = trace_id
        self.span_id = span_id

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if name != "identity")
        return f"Context({shown})"

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; None when there is no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def w3c_trace_id(self) -> str:
        """`trace_id` in W3C's form; of one that is not, a digest, which is the same in every service."""
        if not self.w3c:
            self.w3c = self.trace_id if _W3C_TRACE_ID.fullmatch(self.trace_id) else _digest(self.trace_id)
        return self.w3c

    def message(self, server_name: str, timeout: float | None = None) -> str:
        """The wire form for a call that `server_name` makes in this context.

        The call has `timeout` seconds; when not given, what is left of the context's.
        """
        timeout = self.time_remaining() if timeout is None else timeout
        if timeout is None:
            timeout = _LONGEST_TIMEOUT
        return json.dumps(
            {
                "server_name": server_name,
                "trace_id": self.trace_id,
                "request_timeout": max(1, int(min(timeout, _LONGEST_TIMEOUT) * 1e9)),
                "namespace": self.namespace,
                "client_info": {"ip": self.client_ip, "ua": self.user_agent},
            },
            separators=(",", ":"),
        )

    def metadata(self, server_name: str, timeout: float | None = None) -> list[tuple[str, str]]:
        """The metadata for a call that `server_name` makes in this context; see `message`.

        Without a decision about sampling there is no ``traceparent``: either value of its flag would make that decision
        for everybody downstream. The trace ID goes along in the message all the same.
        """
        metadata = [(METADATA_KEY, self.message(server_name, timeout))]
        if self.sampled is not None:
            metadata.append((TRACEPARENT, f"00-{self.w3c_trace_id}-{self.span_id}-0{int(self.sampled)}"))
            if self.tracestate:
                metadata.append((TRACESTATE, self.tracestate))
        if self.baggage:
            metadata.append((BAGGAGE, self.baggage))
        return metadata


def _digest(trace_id: str) -> str:
    from hashlib import blake2b  # with its libraries, which `import hrpc` does without

    return blake2b(trace_id.encode(), digest_size=16).hexdigest()


_current: ContextVar[Context | None] = ContextVar("hrpc_context", default=None)


current = _current.get
"""The context of the call that is being served, or of `background_context`; None outside of both."""

enter = _current.set
"""Makes a context the current one, of this task and of those that it starts from now on; gives what `leave` takes."""


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
    context = new()
    if timeout is not None:
        context.deadline = time.monotonic() + timeout
    with entered(context):
        yield context


# IDs made beforehand: between two calls of a server nothing of Python stays in the caches of its processor, where
# making one pair at a time costs ten times as much as in a row.
_ids: list[tuple[str, str]] = []
os.register_at_fork(after_in_child=_ids.clear)


def new() -> Context:
    """The first context of a new trace."""
    try:
        return Context(*_ids.pop())
    except IndexError:
        _ids.extend(_new_ids() for _ in range(_IDS_AT_ONCE))
        return Context(*_new_ids())


def _new_ids() -> tuple[str, str]:
    ids = getrandbits(192).to_bytes(24, "big").hex()
    return ids[:32], ids[32:]


def from_metadata(metadata: Any, peer: str = "") -> Context:
    """The context of an incoming call from `peer`, which is in the form of ``ServicerContext.peer``.

    What is missing, too long or not of its type is as if it had not been sent.
    """
    found: dict[str, str] | None = None
    agent = ""
    for key, value in metadata or ():
        if key not in _READ or not isinstance(value, str) or len(value) > _LONGEST:
            continue
        if key == "user-agent":
            agent = value[:_LONGEST_NAME]
            continue
        if found is None:
            found = {}
        # W3C: several headers of one name are one list.
        found[key] = f"{found[key]},{value}" if key in _LISTS and key in found else value
    context = new()
    context.client_ip = _ip(peer)
    context.user_agent = agent
    if found is not None:
        _read(found, context)
    return context


def _read(found: dict[str, str], context: Context) -> None:
    parent = _TRACEPARENT.fullmatch(found.get(TRACEPARENT, ""))
    if parent is not None and (parent[1] != "00" or parent[5] is None):
        context.trace_id = context.w3c = parent[2]
        context.parent_span_id = parent[3]
        context.sampled = bool(int(parent[4], 16) & 1)
        context.tracestate = _header(found.get(TRACESTATE))
    context.baggage = _header(found.get(BAGGAGE))
    text = found.get(METADATA_KEY, "").strip()
    if not text:
        return
    try:
        message, end = _decode(text)
    except (ValueError, RecursionError):
        return
    if isinstance(message, dict) and end == len(text):
        _read_message(message, context)


def _read_message(message: dict[str, Any], context: Context) -> None:
    client = message.get("client_info")
    client = client if isinstance(client, dict) else {}
    context.trace_id = _name(message.get("trace_id")) or context.trace_id
    context.server_name = _name(message.get("server_name"))
    context.namespace = _name(message.get("namespace"))
    ip, agent = _name(client.get("ip")), _name(client.get("ua"))
    if ip or agent:
        context.client_ip, context.user_agent = ip, agent
    context.deadline = _deadline(message.get("request_timeout"))


def _name(value: object) -> str:
    text = _printable(value)
    return text if len(text) <= _LONGEST_NAME else ""


def _printable(value: object) -> str:
    # It goes into logs: a line break would forge a line, half a character would lose one.
    return value if isinstance(value, str) and value.isprintable() else ""


def _header(value: object) -> str:
    # It is passed on as it came, and gRPC sends no call at all with a header of anything else.
    text = _printable(value)
    return text if text.isascii() else ""


def _deadline(nanoseconds: object) -> float | None:
    if type(nanoseconds) is not int or not 0 < nanoseconds <= _LONGEST_TIMEOUT_NS:
        return None
    return None if nanoseconds >= _NO_TIMEOUT_NS else time.monotonic() + nanoseconds / 1e9


@lru_cache(1024)  # a connection has many calls
def _ip(peer: str) -> str:
    """``ipv4:127.0.0.1:5000`` → ``127.0.0.1``, ``ipv6:%5B::1%5D:5000`` → ``::1``; nothing for a Unix socket."""
    family, _, address = peer.partition(":")
    if family == "ipv4":
        return address.rpartition(":")[0]
    if family == "ipv6":
        ip = unquote(address).rpartition(":")[0].strip("[]")
        return ip.removeprefix("::ffff:") if "." in ip else ip
    return ""
