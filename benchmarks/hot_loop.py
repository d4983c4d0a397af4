"""What the wrapper of a call costs by itself: a handler called in a loop, without a network.

``python -m benchmarks.hot_loop --calls 200000`` prints its figures as JSON; `hot_loop` runs that on the servers' core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
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

ROUNDS = 7
PATH = f"/{echo.SERVICE}/Say"

Handle = Callable[[Any, Any], Any]


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
    command = [sys.executable, "-m", "benchmarks.hot_loop", "--calls", str(plan.loops)]
    done = subprocess.run(
        machine.pinned(machine.SERVER_CORE, *command), cwd=fleet.ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    rows = [Row(name, {column: Spread.of([micros]) for column, micros in of.items()}) for name, of in figures.items()]
    about = "Microseconds beyond those of the handler alone; the fastest of several runs."
    return Table("hot-loop", "The wrapper of a call in a loop", about, tuple(rows))


async def measured(calls: int) -> dict[str, dict[str, float]]:
    """By variant, and by what the call brings along."""
    kinds = {"plain": PLAIN, "with a caller's metadata": OF_A_CALLER}
    variants = {"hrpc, everything on": (), **{f"hrpc without {piece}": (piece,) for piece in full.PIECES}}
    figures = {}
    for name, without in {**variants, "hrpc, all of these off": full.PIECES}.items():
        async with AsyncExitStack() as stack:
            handle = await _wrapped(without, stack)
            figures[name] = {kind: _beyond(handle, call, calls) for kind, call in kinds.items()}
    return figures


async def _wrapped(without: Sequence[str], stack: AsyncExitStack) -> Handle:
    """The handler as a running server gives it to its engine."""
    given: list[grpc.GenericRpcHandler] = []
    server = full.server(0, full.pieces(without))
    with patch.object(type(grpc.aio.server()), "add_generic_rpc_handlers", lambda _, handlers: given.extend(handlers)):
        await stack.enter_async_context(server)
    details: Any = SimpleNamespace(method=PATH, invocation_metadata=())
    handler = next(found for generic in given if (found := generic.service(details)) is not None)
    return handler.unary_unary  # type: ignore[attr-defined, no-any-return]


def _beyond(handle: Handle, call: Call, calls: int) -> float:
    bare = echo.Echo().Say
    seconds = rounds.interleaved(
        ["bare", "wrapped"], ROUNDS, lambda name: _loop(handle if name == "wrapped" else bare, call, calls)
    )
    return (min(seconds["wrapped"]) - min(seconds["bare"])) / calls * 1e6


def _loop(handle: Handle, call: Call, calls: int) -> float:
    request = echo_pb2.Message(body=b"x" * 100)
    began = time.perf_counter()
    for _ in range(calls):
        try:  # noqa: SIM105 - a context manager would cost more than what is measured
            handle(request, call).send(None)
        except StopIteration:
            pass
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=Plan.loops)
    print(json.dumps(asyncio.run(measured(parser.parse_args().calls))))
