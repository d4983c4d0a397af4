"""The option that chooses the engine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.native import KINDS, EngineSettings
from hrpc.option.settings import Option

LOOPS = ("auto", "asyncio", "uvloop")


def with_engine(
    kind: Literal["grpcio", "native"],
    *,
    allow_unbounded_receive: bool = False,
    io_threads: int | None = None,
    fast: bool = False,
) -> Option:
    """What serves gRPC: ``"grpcio"``, the default, or ``"native"``, which is experimental.

    The native engine is pygrpc-native (the extra ``hrpc[native]``): its HTTP/2 runs in Rust, in `io_threads` threads
    (when not given, one on a single core, else two). It serves unary calls; streams are served by grpcio behind it.
    What it does not do as grpcio does is refused when the server is made, by the name of the option; docs/engines.md
    has the table. It reads messages far over the limit into memory before it rejects them: `allow_unbounded_receive`
    acknowledges that.

    `fast` asks for grpcio without the event engine of its listener. gRPC reads that from the environment while it is
    imported: set ``GRPC_EXPERIMENTS=-event_engine_listener`` where the process is started; the start warns where it is
    not set. docs/performance.md says what it brings.

    The environment variable ``HRPC_ENGINE``, when not empty, wins over `kind`; it acknowledges nothing.

    ::

        hrpc.with_engine("native", allow_unbounded_receive=True)
    """
    option = "hrpc.with_engine"
    if kind not in KINDS:
        raise OptionError(f'{option}({kind!r}): takes "grpcio" or "native"')
    if not isinstance(allow_unbounded_receive, bool):
        raise OptionError(f"{option}(allow_unbounded_receive={allow_unbounded_receive!r}): takes True or False")
    if fast and kind == "native":
        raise OptionError(f'{option}("native", fast=True): the fast settings are grpcio\'s; leave one of them out')
    threads = None if io_threads is None else checks.count(option, "io_threads", io_threads, 1, 256)
    return Option("with_engine", {"engine": EngineSettings(kind, allow_unbounded_receive, threads, fast)})


def with_event_loop(kind: Literal["auto", "asyncio", "uvloop"]) -> Option:
    """The event loop of ``serve()`` and ``run()``: the standard library's, uvloop, or (auto, the default) uvloop where
    it is installed, as by ``pip install 'hrpc[uvloop]'``. ``async with server`` runs in the loop that it finds.
    """
    option = "hrpc.with_event_loop"
    if kind not in LOOPS:
        raise OptionError(f'{option}({kind!r}): takes "auto", "asyncio" or "uvloop"')
    if kind == "uvloop" and find_spec("uvloop") is None:
        raise OptionError(f"{option}(\"uvloop\"): it is not installed; pip install 'hrpc[uvloop]'")
    return Option("with_event_loop", {"event_loop": kind})
