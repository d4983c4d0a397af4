"""An output that tests read, and calls to log."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc

from hrpc.context import Context
from hrpc.log.audit import AuditLog
from hrpc.log.audit_line import AuditFormat, JsonFormat, said_of
from hrpc.log.output import Output
from hrpc.log.writer import Writer
from hrpc.option import AuditSettings

PATH = "/test.Echo/Echo"
OK = grpc.StatusCode.OK


def a_context(trace_id: str, caller: str, client_ip: str = "10.0.0.1") -> Context:
    context = Context(trace_id, "00f067aa0ba902b7")
    context.server_name, context.client_ip = caller, client_ip
    return context


CONTEXT = a_context("trace-1", "users")


class Recorded(Output):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__("stdout")
        self._pieces: list[bytes] = []

    def takes(self, _: int) -> bool:
        return True

    def write(self, data: bytes) -> bool:
        self._pieces.append(data)
        return True

    @property
    def text(self) -> str:
        """All of it."""
        return b"".join(self._pieces).decode()

    def lines(self) -> list[dict[str, Any]]:
        """The lines, each of them JSON."""
        return [json.loads(line) for line in self.text.split("\n")[:-1]]


async def handler(_: Any, __: Any) -> None: ...


class Audited:
    """An audit log with an output of its own."""

    def __init__(
        self,
        settings: AuditSettings = AuditSettings(),  # noqa: B008 - frozen
        behaviour: Callable[..., Any] = handler,
        limit: int = 100_000,
        lines: AuditFormat | None = None,
    ) -> None:
        self.output = Recorded()
        lines = lines or JsonFormat(said_of("development", "orders", None))
        self.writer = Writer(self.output, lines.dropped, limit)
        self.log = AuditLog(self.writer, lines, settings)
        method = self.log.method(PATH, behaviour)
        assert method is not None
        self.method = method

    def add(
        self,
        context: Context = CONTEXT,
        code: grpc.StatusCode = OK,
        seconds: float = 0.00125,
        error: str | None = None,
        request: Any = None,
        response: Any = None,
    ) -> None:
        """Logs a call."""
        self.method.add(context, code, seconds, error, request, response)

    def lines(self) -> list[dict[str, Any]]:
        """All that was logged; nothing can be logged after this."""
        self.writer.close(10)
        return self.output.lines()
