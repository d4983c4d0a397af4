"""Options for how long calls may take, and for the threads that serve some of them."""

from __future__ import annotations

from collections.abc import Mapping

from hrpc.option import checks
from hrpc.option.settings import Option, Timeouts


def with_default_timeout(timeout: float | None, methods: Mapping[str, float | None] | None = None) -> Option:
    """The longest that a call may take, in seconds; None, or not given: no limit of the server's own.

    The deadline of a call is the earliest that exists: the client's in gRPC, that of the caller's ``hrpc_md_message``,
    and this one. At it the handler is cancelled, and the client gets DEADLINE_EXCEEDED. Streams have it, too.
    `methods` says otherwise for ``package.Service/Method`` or for all of ``package.Service``. Health checks and
    reflection are left out.

    ::

        hrpc.with_default_timeout(3.0, {"shop.Orders/Export": 60.0, "shop.Feed": None})
    """
    option = "hrpc.with_default_timeout"
    limits = checks.by_method(option, methods or {})
    timeouts = Timeouts(
        _limit(option, "timeout", timeout), {name: _limit(option, name, limit) for name, limit in limits.items()}
    )
    return Option("with_default_timeout", {"timeouts": timeouts})


def _limit(option: str, name: str, limit: float | None) -> float | None:
    return None if limit is None else checks.seconds(option, name, limit, 0.001)


def with_handler_threads(threads: int) -> Option:
    """How many handlers that are not coroutines run at once, each in a thread of its own; 32 when not given."""
    option = "hrpc.with_handler_threads"
    return Option("with_handler_threads", {"handler_threads": checks.count(option, "threads", threads, 1, 10_000)})
