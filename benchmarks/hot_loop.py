"""What the wrapper of a call costs by itself: a handler called in a loop, without a network.

``python -m benchmarks.hot_loop figures.json --calls 200000`` measures; `hot_loop` runs that on the core of the servers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import grpc
import grpc.aio

from benchmarks import echo_pb2, fleet, load, machine, rounds
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from benchmarks.servers import echo, full
from benchmarks.variants import FULL, NONE, WITHOUT

ROUNDS = 7
PATH = f"/{echo.SERVICE}/Say"


class Call:
    """What grpc.aio gives a handler, as far as a call that goes well asks for it."""

    def __init__(self, headers: Sequence[str], seconds: float | None) -> None:
        pairs = (header.partition(": ") for header in headers)
        self._metadata = tuple((name, value) for name, _, value in pairs if name not in ("te", "content-type"))
        self._seconds = seconds

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> float | None:
        return self._seconds

    def code(self) -> int:
        return 0

    def details(self) -> str:
        return ""

    def peer(self) -> str:
        return "ipv4:127.0.0.1:40000"

    def trailing_metadata(self) -> None:
        return None


PLAIN = Call(load.PLAIN, None)
OF_A_CALLER = Call([header for header in load.OF_A_CALLER if not header.startswith("grpc-timeout")], 5.0)


def hot_loop(plan: Plan) -> Table:
    """Microseconds that a call takes longer than its handler alone."""
    output = plan.folder / "hot-loop.json"
    command = [sys.executable, "-m", "benchmarks.hot_loop", str(output), "--calls", str(plan.loops)]
    # The lines of the audit log go where servers under load write them, into a file.
    with (plan.folder / "hot-loop.log").open("w") as log:
        subprocess.run(machine.pinned(machine.SERVER_CORE, *command), cwd=fleet.ROOT, stdout=log, check=True)
    figures: dict[str, dict[str, float]] = json.loads(output.read_text())
    rows = [
        Row(name, {column: Spread.of([micros]) for column, micros in of.items()})
        for name, of in {FULL.name: figures[FULL.name], **_pieces(figures)}.items()
    ]
    about = (
        "Microseconds of the event loop's thread for a call, beyond those of the handler alone; the fastest of several "
        "runs. In a server, where a call finds the caches full of other things, each of them is worth several."
    )
    return Table("hot-loop", "The wrapper of a call in a loop", about, tuple(rows))


def _pieces(figures: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """What each piece adds to all others."""
    whole = figures[FULL.name]
    return {
        f"of this, {piece}": {column: whole[column] - figures[variant.name][column] for column in whole}
        for variant, piece in zip(WITHOUT, full.PIECES, strict=True)
    } | {"of this, what is always there": dict(figures[NONE.name])}


async def measured(calls: int) -> dict[str, dict[str, float]]:
    """By variant, and by what the call brings along."""
    kinds = {"plain": PLAIN, "with a caller's metadata": OF_A_CALLER}
    without_one = {variant.name: (piece,) for variant, piece in zip(WITHOUT, full.PIECES, strict=True)}
    figures = {}
    for name, without in {FULL.name: (), **without_one, NONE.name: full.PIECES}.items():
        async with AsyncExitStack() as stack:
            router = await routed(without, stack)
            handler = router.service(SimpleNamespace(method=PATH, invocation_metadata=()))  # type: ignore[arg-type]
            figures[name] = {kind: _beyond(handler, call, calls) for kind, call in kinds.items()}
    return figures


async def routed(without: Sequence[str], stack: AsyncExitStack) -> grpc.GenericRpcHandler:
    """What a running server gives to its engine: finds the wrapped handler of a call."""
    given: list[grpc.GenericRpcHandler] = []
    server = full.server(0, full.pieces(without))
    with patch.object(type(grpc.aio.server()), "add_generic_rpc_handlers", lambda _, handlers: given.extend(handlers)):
        await stack.enter_async_context(server)
    return given[0]


def _beyond(ours: Any, call: Call, calls: int) -> float:
    handlers = {"bare": echo.say(), "wrapped": ours}
    seconds = rounds.interleaved(list(handlers), ROUNDS, lambda name: _loop(handlers[name], call, calls))
    return (min(seconds["wrapped"]) - min(seconds["bare"])) / calls * 1e6


def _loop(handler: Any, call: Call, calls: int) -> float:
    """Seconds of this thread for calls from the bytes of the request to the bytes of the response."""
    request = echo_pb2.Message(body=b"x" * 100).SerializeToString()
    handle = handler.unary_unary
    read, write = handler.request_deserializer or bytes, handler.response_serializer or bytes
    began = time.thread_time()
    for _ in range(calls):
        try:
            handle(read(request), call).send(None)
        except StopIteration as returned:
            write(returned.value)
    return time.thread_time() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--calls", type=int, default=Plan.loops)
    given = parser.parse_args()
    given.output.write_text(json.dumps(asyncio.run(measured(given.calls))))
