"""What a trace tells of a command: its name and its collection, never a document."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from pymongo.monitoring import CommandListener

from hrpc.database.adapter import RequestSpan, Tracer

# Of the driver itself, of the start and of the readiness.
_UNTRACED = frozenset(
    {
        *("hello", "ismaster", "saslstart", "saslcontinue", "authenticate"),
        *("endsessions", "killcursors", "listcollections", "ping"),
    }
)


class Commands(CommandListener):
    """Begins and ends the spans of the commands of one client."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        # A task has one command at a time. One that is cancelled is told of by no event.
        self._spans: weakref.WeakKeyDictionary[asyncio.Task[Any], RequestSpan] = weakref.WeakKeyDictionary()

    def started(self, event: Any) -> None:
        operation = event.command_name
        task = asyncio.current_task()
        if operation.lower() in _UNTRACED or task is None:
            return
        host, port = event.connection_id
        attributes: dict[str, str | int] = {
            "db.system.name": "mongodb",
            "db.namespace": event.database_name,
            "db.operation.name": operation,
            "server.address": host,
        }
        if port is not None:
            attributes["server.port"] = port
        collection = _collection(event.command, operation)
        if collection is not None:
            attributes["db.collection.name"] = collection
        name = f"{operation} {collection or event.database_name}"
        self._spans[task] = self._tracer.request(name, attributes)

    def succeeded(self, event: Any) -> None:
        if (span := self._taken()) is not None:
            span.end()

    def failed(self, event: Any) -> None:
        if (span := self._taken()) is not None:
            code = event.failure.get("code")
            attributes: dict[str, str | int] = {"error.type": str(event.failure.get("errtype") or code or "error")}
            if code is not None:
                attributes["db.response.status_code"] = str(code)
                attributes["error.type"] = str(code)
            span.end(None, attributes)

    def cut(self, error: BaseException) -> None:
        """The current task has no command any more."""
        if (span := self._taken()) is not None:
            span.end(error)

    def _taken(self) -> RequestSpan | None:
        task = asyncio.current_task()
        return None if task is None else self._spans.pop(task, None)


def _collection(command: Any, operation: str) -> str | None:
    """The collection that a command is for: the value of its first field, of a getMore that of another one."""
    value = command.get("collection") if operation == "getMore" else command.get(operation)
    return value if isinstance(value, str) else None
