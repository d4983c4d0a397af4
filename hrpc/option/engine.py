"""The option that chooses the engine."""

from __future__ import annotations

from typing import Literal

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.native import KINDS, EngineSettings
from hrpc.option.settings import Option


def with_engine(
    kind: Literal["grpcio", "native"], *, allow_unbounded_receive: bool = False, io_threads: int = 2
) -> Option:
    """What serves gRPC: ``"grpcio"``, the default, or ``"native"``, which is experimental.

    The native engine is pygrpc-native (the extra ``hrpc[native]``): its HTTP/2 runs in Rust, in `io_threads` threads.
    It serves unary calls; streams are served by grpcio behind it. What it does not do as grpcio does is refused when
    the server is made, by the name of the option; docs/engines.md has the table. It reads messages far over the limit
    into memory before it rejects them: `allow_unbounded_receive` acknowledges that.

    The environment variable ``HRPC_ENGINE``, when not empty, wins over `kind`; it acknowledges nothing.

    ::

        hrpc.with_engine("native", allow_unbounded_receive=True)
    """
    option = "hrpc.with_engine"
    if kind not in KINDS:
        raise OptionError(f'{option}({kind!r}): takes "grpcio" or "native"')
    if not isinstance(allow_unbounded_receive, bool):
        raise OptionError(f"{option}(allow_unbounded_receive={allow_unbounded_receive!r}): takes True or False")
    threads = checks.count(option, "io_threads", io_threads, 1, 256)
    return Option("with_engine", {"engine": EngineSettings(kind, allow_unbounded_receive, threads)})
