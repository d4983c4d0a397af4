"""What a server says of itself to the registry."""

from __future__ import annotations

import secrets

from hrpc.abc import KEEPALIVE_META, Check, Registration, endpoint
from hrpc.option import Settings


def registration(settings: Settings, address: str, port: int, health_port: int | None) -> Registration:
    """The entry for the ports that were really bound. Its ID is new in every life, so that instances never meet in one.

    Consul asks the health port over HTTP when there is one, else the gRPC health service, so that even an instance that
    was killed is found out.
    """
    own = settings.registration
    tls = settings.certificates is not None
    meta = {"protocol": "grpcs" if tls else "grpc", **own.meta}
    if settings.keepalive.permit_without_stream:
        meta.setdefault(KEEPALIVE_META, f"{settings.keepalive.minimum:g}")
    if own.version is not None:
        meta["version"] = own.version
    limits = (own.check_interval, own.check_timeout, own.deregister_after)
    if health_port is not None:
        check = Check("http", f"http://{endpoint(address, health_port)}/", *limits)
    else:
        check = Check("grpc", endpoint(address, port), *limits, tls=tls)
    return Registration(
        id=f"{settings.server_name}-{secrets.token_hex(8)}",
        name=settings.server_name,
        address=address,
        port=port,
        tags=(str(settings.environment), *own.tags),
        meta=meta,
        weight=own.weight,
        check=check,
    )
