"""What happens around the handler of one method: put together when the server starts, not when a call comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from hrpc.abc import Admission, Span
from hrpc.context import Context
from hrpc.metrics.calls import MethodCalls
from hrpc.rpc.call import Call

Auth = Callable[[Call], Awaitable[object]]

_OF_THE_SERVER = ("/grpc.health.v1.", "/grpc.reflection.", "/grpc.channelz.", "/pkping.")


class Audit(Protocol):
    """Writes a line for each call of one method."""

    def add(
        self, context: Context, code: grpc.StatusCode, seconds: float, error: str, request: Any, response: Any, /
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """The pieces around one method's handler; a piece that is None is left out, and costs a call nothing."""

    counts: MethodCalls
    timeout: float | None = None
    """Seconds that a call may take when its caller allows more, or does not say."""
    tracing: Callable[[Context, Any], Span] | None = None
    admission: Admission | None = None
    auth: Auth | None = None
    not_found: bool = False
    """Whether a handler of one response that gives None, without a status, means that there is nothing."""
    audit: Audit | None = None


def of_the_server(path: str) -> bool:
    """Whether a method is for probes and tools, and not a service of the user's: what limits or records the user's
    calls leaves it out."""
    return path.startswith(_OF_THE_SERVER)
