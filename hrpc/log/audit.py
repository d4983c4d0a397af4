"""The audit log: one line per call, which costs the event loop a tuple in a queue."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from functools import partial
from random import random
from time import time
from typing import TYPE_CHECKING, Any, Self

import grpc

from hrpc.context import Context
from hrpc.log.audit_line import LONGEST_ERROR, LONGEST_NAME, AuditFormat, Ended, Origin
from hrpc.log.writer import Writer
from hrpc.option import AuditSettings

if TYPE_CHECKING:
    from hrpc.log.payload import Payloads

_METHODS_AT_MOST = 1000
"""Methods that are remembered; a generic handler can have any number of them."""

_OK = grpc.StatusCode.OK

Add = Callable[[Context, grpc.StatusCode, float, str | None, Any, Any], None]


class AuditLog:
    """Writes the lines of a server's calls; leaving it waits until all are written."""

    def __init__(self, writer: Writer, lines: AuditFormat, settings: AuditSettings) -> None:
        self._writer = writer
        self._lines = lines
        self._settings = settings
        self._payloads = _payloads(settings) if settings.payloads else None
        self._methods: dict[tuple[str, Any], MethodAudit] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._writer.flushed()

    def close(self, limit: float) -> None:
        """Writes what is left, for at most `limit` seconds; for a process that ends at once. Any thread may do it."""
        self._writer.close(limit)

    @property
    def dropped(self) -> int:
        """Lines of the log that were not written, because nobody read them for too long."""
        return self._writer.dropped

    def method(self, path: str, behaviour: Callable[..., Any]) -> MethodAudit | None:
        """What takes the calls of ``/package.Service/Method``, served by `behaviour`; None when it is off."""
        if not self._settings.enabled:
            return None
        key = path, _function(behaviour)
        found = self._methods.get(key)
        if found is None:
            found = self._new(_origin(path, behaviour))
            if len(self._methods) < _METHODS_AT_MOST:
                self._methods[key] = found
        return found

    def _new(self, method: Origin) -> MethodAudit:
        return MethodAudit(method, self._writer, self._lines, self._settings, self._payloads)


class MethodAudit:
    """The audit log of one method.

    ``add(context, code, seconds, error, request, response)`` takes a call that has ended: `error` is a text or None,
    and the messages are None for streams. It costs well under a microsecond, waits for nothing, and may be called in
    any thread.
    """

    __slots__ = ("_head_of_good", "_heads", "_lines", "_method", "add")

    def __init__(
        self, method: Origin, writer: Writer, lines: AuditFormat, settings: AuditSettings, payloads: Payloads | None
    ) -> None:
        self._method = method
        self._lines = lines
        # Apart from the others, because the hash of an enum's member is a function of Python.
        self._head_of_good = lines.head(method, _OK)
        self._heads: dict[grpc.StatusCode, str] = {}
        self.add: Add = self._adding(writer, payloads)
        if settings.sample < 1:
            self.add = _sampling(self.add, settings.sample, settings.slow)

    def _adding(self, writer: Writer, payloads: Payloads | None) -> Add:
        waiting, limit, line = writer.waiting, writer.limit, self._line
        append = waiting.append

        def add(
            context: Context, code: grpc.StatusCode, seconds: float, error: str | None, request: Any, response: Any
        ) -> None:
            if len(waiting) >= limit:
                writer.drop()
                return
            kept = None if payloads is None else (payloads, payloads.keep(request), payloads.keep(response))
            if context.baggage or context.tracestate:
                context = _what_is_shown(context)
            append((line, code, kept, time(), seconds, error and str(error)[:LONGEST_ERROR], context))
            if writer.idle:
                writer.wake()

        return add

    def _line(self, entry: tuple[Any, ...]) -> str:
        _, code, kept, when, seconds, error, context = entry
        texts: Sequence[str | None] = ()
        if kept is not None:
            payloads, *messages = kept
            texts = [payloads.text(message) for message in messages]
        ended = Ended(
            when,
            seconds,
            error,
            context.trace_id[:LONGEST_NAME],
            context.span_id[:LONGEST_NAME],
            context.server_name[:LONGEST_NAME],
            context.client_ip[:LONGEST_NAME],
            *texts,
        )
        return self._lines.line(self._head_of_good if code is _OK else self._head(code), ended)

    def _head(self, code: grpc.StatusCode) -> str:
        head = self._heads.get(code)
        if head is None:
            head = self._heads[code] = self._lines.head(self._method, code)
        return head


def _what_is_shown(context: Context) -> Context:
    """What a line shows of a context, without the kilobytes that a caller may have sent beside it."""
    shown = Context(context.trace_id, context.span_id)
    shown.server_name, shown.client_ip = context.server_name, context.client_ip
    return shown


def _payloads(settings: AuditSettings) -> Payloads:
    from hrpc.log.payload import Payloads
    from hrpc.redaction import Redaction

    return Payloads(Redaction(settings.redact), settings.payload_limit)


def _sampling(add: Add, share: float, slow: float | None) -> Add:
    slow = float("inf") if slow is None else slow

    def add_some(
        context: Context, code: grpc.StatusCode, seconds: float, error: str | None, request: Any, response: Any
    ) -> None:
        if code is not _OK or seconds >= slow or random() < share:
            add(context, code, seconds, error, request, response)

    return add_some


def _function(behaviour: Any) -> Any:
    """The function that a handler comes down to: of decorators, partials, methods and objects that can be called."""
    while True:
        behaviour = inspect.unwrap(behaviour)
        if isinstance(behaviour, partial):
            behaviour = behaviour.func
        elif inspect.ismethod(behaviour):
            behaviour = behaviour.__func__
        elif inspect.isroutine(behaviour) or isinstance(behaviour, type):
            return behaviour
        else:
            behaviour = type(behaviour).__call__


def _origin(path: str, behaviour: Callable[..., Any]) -> Origin:
    function = _function(behaviour)
    code = getattr(function, "__code__", None)
    place = "" if code is None else f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
    return Origin(path, place, getattr(function, "__module__", None) or "")
