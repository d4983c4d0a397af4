"""What is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.servers.full import PIECES

FAST = {"GRPC_EXPERIMENTS": "-event_engine_listener"}
"""Read by grpcio while it is imported. *Tuned* is this and uvloop."""


@dataclass(frozen=True)
class Variant:
    """One way to serve: a module of `benchmarks.servers`, its arguments, and its environment."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    spread: bool = False
    """Whether it runs on all cores, beside its load, and not on one that is its own."""


BARE = Variant("grpc.aio, bare", "grpc_aio")
BARE_TUNED = Variant("grpc.aio, bare, tuned", "grpc_aio", ("--uvloop",), FAST)
SYNC = Variant("grpcio, sync, 10 threads", "grpc_sync")
GRPCLIB = Variant("grpclib, bare", "grpclib_server")
NAIVE = Variant("grpc.aio with five interceptors", "naive")
NATIVE = Variant("pygrpc-native, bare", "native")
FULL = Variant("hrpc, everything on", "full")
TUNED = Variant("hrpc, everything on, tuned", "full", ("--tuned",), FAST)
FULL_NATIVE = Variant("hrpc, everything on, native engine", "full", ("--engine", "native"))
FULL_NATIVE_TUNED = Variant("hrpc, everything on, native engine, uvloop", "full", ("--engine", "native", "--tuned"))
DEFAULT = Variant("hrpc, no option chosen", "full", ("--default",))
JOINED = Variant("hrpc, everything on, with health and Consul", "full", ("--health",))
NONE = Variant("hrpc, all of these off", "full", ("--without", *PIECES))
WITHOUT = tuple(Variant(f"hrpc without {piece}", "full", ("--without", piece)) for piece in PIECES)

STACK = (BARE, BARE_TUNED, SYNC, GRPCLIB, NAIVE, NATIVE, FULL, TUNED, FULL_NATIVE, FULL_NATIVE_TUNED, *WITHOUT, NONE)
CALLED = (BARE, NAIVE, FULL, TUNED, FULL_NATIVE, NONE)
WORKED = {"grpcio": TUNED, "native": FULL_NATIVE_TUNED}
ENGINES = (BARE, FULL, TUNED, NATIVE, FULL_NATIVE)


def with_workers(variant: Variant, count: int) -> Variant:
    """The same server with so many processes, spread over all cores."""
    name = f"{variant.name}: {count} worker{'s' * (count > 1)}"
    return Variant(name, variant.module, (*variant.arguments, "--workers", str(count)), variant.environ, spread=True)


def with_methods(variant: Variant, count: int) -> Variant:
    """The same server with this many unary methods."""
    name = f"{variant.name}: {count} method{'s' * (count > 1)}"
    return Variant(name, variant.module, (*variant.arguments, "--methods", str(count)), variant.environ)
