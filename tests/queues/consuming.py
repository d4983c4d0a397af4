"""Servers that consume from the queue in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hrpc
from hrpc.queues import Handler, Retry, Subscription
from tests.echo import add_echo
from tests.queues.memory import Memory
from tests.server.recorded import LOCAL

AT_ONCE = Retry(attempts=3, base=0.0)


async def holds(look: Callable[[], bool]) -> bool:
    """A look that awaits nothing, as `eventually` takes it."""
    return look()


def a_queue(handler: Handler, **settings: Any) -> Memory:
    return Memory((Subscription(("orders",), handler, **{"retry": AT_ONCE, **settings}),))


def a_server(queue: Memory, *options: hrpc.Option) -> hrpc.Server:
    server = hrpc.new_server(hrpc.with_server_name("shop"), LOCAL, hrpc.with_message_queues(queue), *options)
    add_echo(server)
    return server
