"""A service with every part that there is; `Whole` says where they are, and which step has which fault."""

# ruff: noqa: E402 - what can be interrupted begins with the imports

from __future__ import annotations

print("begins", flush=True)

import asyncio
import json
import os
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor

import hrpc
from hrpc import Consul, life, service
from hrpc.database import mysql, redis
from hrpc.server.steps import Steps
from tests import echo
from tests.faulty import faulty

told = json.loads(os.environ["WHOLE"])


class Plain:
    name = "plain"
    depends_on = ()

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        yield


async def asks(request: bytes, _: Any) -> bytes:
    """What a usual call does: asks both databases, and another service."""
    await redis.get().incr("whole")
    await mysql.get().query_one("SELECT 1")
    async with service.channel(told["name"]) as channel:
        answer: bytes = await echo.call(channel, "Echo", request)
    return answer


async def blocks(request: bytes, _: Any) -> bytes:
    """Holds the event loop up for this many seconds."""
    time.sleep(json.loads(request))  # noqa: ASYNC251 - this is the fault
    return b""


async def takes_long(request: bytes, _: Any) -> bytes:
    await asyncio.sleep(json.loads(request))
    return b""


async def fails(request: bytes, _: Any) -> bytes:
    raise ZeroDivisionError


async def opens(request: bytes, _: Any) -> bytes:
    os.close(os.open(__file__, os.O_RDONLY))
    return b""


async def allocates(request: bytes, _: Any) -> bytes:
    """Needs this many bytes of memory."""
    return b"%d" % len(bytearray(json.loads(request)))


async def leaves_room(request: bytes, _: Any) -> bytes:
    """From now on the process gets this many further bytes of memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    most = int(next(line for line in lines if line.startswith("VmData")).split()[1]) * 1024 + json.loads(request)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    return b""


def in_a_thread(request: bytes, _: Any) -> bytes:
    time.sleep(0.1)
    return b""


METHODS = {
    "Asks": asks,
    "Blocks": blocks,
    "Fails": fails,
    "TakesLong": takes_long,
    "Opens": opens,
    "Allocates": allocates,
    "Room": leaves_room,
    "Threads": in_a_thread,
}

server = hrpc.new_server(
    hrpc.with_server_name(told["name"]),
    hrpc.with_listen_port(0, host="127.0.0.1"),
    hrpc.with_engine(told["engine"], allow_unbounded_receive=True),
    hrpc.with_consul(Consul(address=told["consul"])),
    hrpc.with_snapshot(told["snapshot"]),
    hrpc.with_upstreams(told["name"]),
    hrpc.with_databases(mysql.new(**told["mysql"]), redis.new(**told["redis"])),
    hrpc.with_plugins(Plain()),
    hrpc.with_tracing(processors=(SpanProcessor(),)),
    hrpc.with_health_check(0),
    hrpc.with_metrics(0),
    hrpc.with_registration(**told["registration"]),
    hrpc.with_concurrency_limit(told["calls"], lag=told["lag"]),
    hrpc.with_max_streams(told["streams"]),
    hrpc.with_audit_log(sample=told["sampled"]),
    hrpc.with_graceful_stop(**told["stop"]),
    hrpc.with_pre_run(lambda: None, name="before all calls"),
    hrpc.with_post_run(lambda: None, name="after all calls"),
    hrpc.with_exit_listeners(lambda: None),
)
if told["workers"]:
    server.apply(hrpc.with_workers(told["workers"]))
echo.add_echo(server, **METHODS)

if __name__ == "__main__":
    kind, _, at = told["fault"].partition(": ")
    Steps.enter_all = faulty(  # type: ignore[method-assign]
        kind or None,
        at,
        lambda steps: print(
            "steps", json.dumps([(step.name, step.left_as, step.limited) for step in steps]), flush=True
        ),
        lambda: print("fault", flush=True),
    )
    if told["files"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (told["files"], told["files"]))
    life.when_exit(lambda: print("exit hook", flush=True))
    server.serve()
