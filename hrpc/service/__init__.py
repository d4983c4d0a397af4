"""Finding and calling other services.

::

    from hrpc import service

    async with service.channel("users") as channel:        # balanced over the instances, follows Consul
        user = await users_pb2_grpc.UsersStub(channel).Get(request)

    channel = grpc.aio.insecure_channel(service.get("users").target())

What is known of a service is followed from its first use on; `hrpc.with_upstreams` makes that the start of the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hrpc import _runtime
from hrpc.abc import Instance
from hrpc.option import BalancerSettings
from hrpc.service.wish import Wish

if TYPE_CHECKING:
    from hrpc.service.balanced_channel import Channel
    from hrpc.service.changes import Change, Changes
    from hrpc.service.directory import Directory
    from hrpc.service.entry import Service

__all__ = ["Change", "Changes", "Channel", "Instance", "Service", "channel", "get", "list", "ready", "watch"]

slot: _runtime.Slot[Directory] = _runtime.Slot("service", "hrpc.with_consul(…) or hrpc.with_static_services(…)")

_MODULES = {"Change": "changes", "Changes": "changes", "Channel": "balanced_channel", "Service": "entry"}


def __getattr__(name: str) -> Any:
    # What calls are made with is a quarter of `import hrpc`, and nobody needs it before a server runs.
    if name in _MODULES:
        return getattr(import_module(f"hrpc.service.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get(
    name: str, tag: str | Sequence[str] | None = None, *, version: str | None = None, datacenters: Sequence[str] = ()
) -> Service:
    """One instance that passes its checks; of those with the highest weight, each in turn.

    `tag` is the environment when not given; of several, an instance has to have all. `version` is that of
    `hrpc.with_registration`. `datacenters` are in order of preference: the next one counts while those before it have
    no instance that is well. Costs no request, but for the first use of a name that `hrpc.with_upstreams` did not
    announce: that one asks Consul and blocks for so long; `ready` does not.

    Raises `ServiceNotFound`, `NotRunning` or `ConsulError`.
    """
    return slot.get().get(name, tag, version, datacenters)


async def ready(
    name: str,
    tag: str | Sequence[str] | None = None,
    timeout: float = 5.0,
    *,
    version: str | None = None,
    datacenters: Sequence[str] = (),
) -> None:
    """Waits until an instance of the service is known, at most `timeout` seconds.

    Raises `ServiceNotFound`, `NotRunning` or `ConsulError`.
    """
    await slot.get().ready(Wish.of(name, tag, version, datacenters), timeout)


def channel(
    name: str,
    tag: str | Sequence[str] | None = None,
    *,
    version: str | None = None,
    datacenters: Sequence[str] = (),
    balancer: BalancerSettings | None = None,
) -> Channel:
    """A channel to all instances that pass their checks; generated stubs take it as it is. Raises `NotRunning`.

    `balancer` is how its calls are spread, where that is not as `hrpc.with_balancer` says. `hrpc.with_retry` and
    `hrpc.with_hedging` say when a call is made again. The channel is shared: leaving the ``async with`` closes nothing,
    the connections end with their instance or the server.
    """
    return slot.get().channel(Wish.of(name, tag, version, datacenters), balancer)


def watch(
    name: str, tag: str | Sequence[str] | None = None, *, version: str | None = None, datacenters: Sequence[str] = ()
) -> Changes:
    """What becomes of the instances of a service: first those that there are, then each change.

    Who is slow gets several changes as one, and always the newest state. While the registry is silent, nothing comes.
    Raises `ServiceNotFound` for what cannot be a name, or `NotRunning`.

    ::

        async for change in service.watch("users"):
            log.info("{} instances, {} are new", len(change.instances), len(change.added))
    """
    return slot.get().watch(Wish.of(name, tag, version, datacenters))


async def list(tag: str | Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """The names of all services, well or not, with all tags that their instances have, as the registry says now.

    `tag` is the environment when not given: only services that have it; of several, those that have all.
    Raises `NotRunning` or `ConsulError`.
    """
    return await slot.get().names(Wish.of("", tag).tag)
