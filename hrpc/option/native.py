"""The choice of an engine, and what the native one does not do as grpcio does: the only place that says so.

Every restriction has a proof of the same key in ``tests/engine/conformance/test_restrictions.py``, which shows on the
installed version of pygrpc-native that it is still needed. When a version passes, that test fails and names the entry
to take out, and what it restricted is allowed from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from hrpc.errors import OptionError

if TYPE_CHECKING:
    from hrpc.option.settings import Settings

ENVIRONMENT = "HRPC_ENGINE"
KINDS = ("grpcio", "native")

PROVEN_ON = ("0.5.0",)
"""The versions of pygrpc-native that the conformance tests have been run on."""


class EngineSettings(NamedTuple):
    """Which engine serves gRPC. See `with_engine`."""

    kind: Literal["grpcio", "native"] = "grpcio"
    allow_unbounded_receive: bool = False
    io_threads: int | None = None
    fast: bool = False


class Restriction(NamedTuple):
    """One thing that the native engine does not do as grpcio does.

    `answer` is what hrpc does about it. `reason` is what a user is told; `uses` tells which option asks for it.
    """

    answer: Literal["refused", "acknowledged", "served by grpcio"]
    reason: str
    option: str = ""
    uses: Callable[[Settings], Any] = lambda _: False


RESTRICTIONS: dict[str, Restriction] = {
    "tls": Restriction(
        "refused",
        "it has no TLS; let a proxy end TLS in front of it",
        "hrpc.with_server_certs",
        lambda settings: settings.certificates,
    ),
    "compression": Restriction(
        "refused",
        "it does not compress responses",
        "hrpc.with_compression",
        lambda settings: settings.compression,
    ),
    "connection age": Restriction(
        "refused",
        "it closes no connection for its age or idleness",
        "hrpc.with_keepalive(age=…, idle=…)",
        lambda settings: settings.keepalive.age is not None or settings.keepalive.idle is not None,
    ),
    "channelz": Restriction(
        "refused",
        "its connections are not known to channelz",
        "hrpc.with_channelz",
        lambda settings: settings.channelz,
    ),
    "unbounded receive": Restriction(
        "acknowledged",
        "it reads a message whole, and unpacks it when it is compressed, before it looks at the limit of its size, so "
        "that one client can make the process use gigabytes",
        "allow_unbounded_receive=True",
        lambda settings: not settings.engine.allow_unbounded_receive,
    ),
    "stalled readers": Restriction(
        "served by grpcio", "a few clients that do not read what is streamed to them stall the streams of all others"
    ),
}


def settled(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """`settings` with the engine that the environment chooses, checked for what that one does. Raises `OptionError`."""
    kind = environ.get(ENVIRONMENT)
    if kind and kind not in KINDS:
        raise OptionError(f"{ENVIRONMENT}={kind!r} in the environment: takes grpcio or native")
    if kind:
        settings = replace(settings, engine=settings.engine._replace(kind=cast(Literal["grpcio", "native"], kind)))
    if settings.engine.kind == "native":
        _check(settings, f"{ENVIRONMENT}=native" if kind else 'hrpc.with_engine("native")')
        if "channelz" in RESTRICTIONS:
            # It is offered outside of production without being asked for, and would show nothing here.
            settings = replace(settings, channelz=False)
    return settings


def _check(settings: Settings, chosen: str) -> None:
    for restriction in RESTRICTIONS.values():
        if not restriction.uses(settings):
            continue
        if restriction.answer == "refused":
            raise OptionError(
                f"{restriction.option} does not go with the native engine ({chosen}): {restriction.reason}; "
                'or choose hrpc.with_engine("grpcio")'
            )
        raise OptionError(
            f"the native engine ({chosen}) has to be acknowledged: {restriction.reason}. Where only clients that you "
            f'trust reach it, pass hrpc.with_engine("native", {restriction.option}); else hrpc.with_engine("grpcio")'
        )
