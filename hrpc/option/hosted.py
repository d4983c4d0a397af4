"""The options for services that live beside gRPC."""

from __future__ import annotations

from hrpc.abc import GrpcService, HostedService
from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.settings import HostedSettings, Option

_OPTION = "hrpc.with_services"


def with_services(*services: HostedService | GrpcService, max_shutdown: float | None = 30.0) -> Option:
    """Services that run beside gRPC, in the same life: consumers, schedulers, a second server.

    Each is an `hrpc.abc.HostedService`, or an `hrpc.abc.GrpcService`, with an id of its own. All are set up at once,
    run when all are set up, and are cancelled when the server drains. One that fails stops the server, which then
    raises `errors.ManagerError`, or exits with 1. What they hold is released when every run has returned and the calls
    have ended. From being told to stop they have `max_shutdown` seconds (None, or a negative number: no limit), then
    they are abandoned, which is an error too.

    ::

        class Consumer:
            id = "consumer"

            @asynccontextmanager
            async def setup(self):
                async with connect() as self.queue:
                    yield

            async def run(self):
                async for message in self.queue:
                    ...

        hrpc.with_services(Consumer())
    """
    ids = set[str]()
    for service in services:
        _check(service)
        if service.id in ids:
            raise OptionError(f"{_OPTION}: two services have the id {service.id!r}: give one of them another")
        ids.add(service.id)
    limitless = max_shutdown is None or (isinstance(max_shutdown, int | float) and max_shutdown < 0)
    limit = None if limitless else checks.seconds(_OPTION, "max_shutdown", max_shutdown)
    return Option("with_services", {"hosted": HostedSettings(services, limit)})


def with_ping(enabled: bool = True) -> Option:
    """Answer ``/pkping.Ping/Ping``, which takes and gives ``google.protobuf.Empty``; on with `with_services`, else off.

    Limits, the audit log and traces leave it out, as they do probes.
    """
    if not isinstance(enabled, bool):
        raise OptionError(f"hrpc.with_ping({enabled!r}): takes True or False")
    return Option("with_ping", {"ping": enabled})


def _check(service: object) -> None:
    if isinstance(service, type):
        raise OptionError(f"{_OPTION}: {service.__name__} is a class: pass an object of it")
    identity = getattr(service, "id", None)
    if not isinstance(identity, str) or not identity or not identity.isprintable():
        raise OptionError(f"{_OPTION}: {service!r} needs an id, a printable name of its own; it has {identity!r}")
    if not callable(getattr(service, "setup", None)):
        raise OptionError(f"{_OPTION}: {identity!r} has no setup(), which acquires what it needs")
    if not any(callable(getattr(service, name, None)) for name in ("run", "register_on_server")):
        raise OptionError(f"{_OPTION}: {identity!r} has no run(), nor register_on_server(server) for its gRPC methods")
    if getattr(service, "workers", "each") not in ("each", "one"):
        raise OptionError(f'{_OPTION}: {identity!r} has workers={service.workers!r}; it takes "each" or "one"')  # type: ignore[attr-defined]
