"""The address that a service tells others to connect to."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from hrpc.errors import OptionError
from hrpc.option import Consul, checks

# Reserved for documentation (RFC 5737, RFC 3849): asking for the route to it sends nothing.
_ANYWHERE = ("192.0.2.1", "2001:db8::1")


def advertised(
    explicit: str | None,
    consul: Consul,
    listen_host: str,
    environ: Mapping[str, str] | None = None,
    route: Callable[[str, int], str | None] | None = None,
) -> str:
    """The first of: what the code says, ``HRPC_ADVERTISE``, ``POD_IP``, the one interface that is listened on, this
    machine's end of the route to Consul, its end of the default route; the loopback only for an agent that is on it.

    Raises `OptionError` when none is left, or when an explicit one cannot be connected to.
    """
    environ = os.environ if environ is None else environ
    route = route or _route
    for origin, value in (
        ("hrpc.with_registration(address=…)", explicit),
        ("HRPC_ADVERTISE", environ.get("HRPC_ADVERTISE")),
        ("POD_IP", environ.get("POD_IP")),
    ):
        if value:
            return checks.host(origin, value)
    if not ipaddress.ip_address(listen_host).is_unspecified:
        return listen_host
    agent = urlsplit(consul.url)
    to_agent = "127.0.0.1" if agent.scheme == "unix" else route(agent.hostname or "", agent.port or 8500)
    for address in (to_agent, *(route(host, 9) for host in _ANYWHERE)):
        if address and not ipaddress.ip_address(address).is_loopback:
            return address
    if to_agent:
        return to_agent
    raise OptionError(
        f"no address to register: this machine has no route to Consul at {consul.url} and none to the network; "
        "say which address others reach it by, with hrpc.with_registration(address=…) or HRPC_ADVERTISE"
    )


def _route(host: str, port: int) -> str | None:
    """This machine's address on the way to `host`; asks the kernel, sends nothing."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as sock:
            sock.connect(address)
            return str(sock.getsockname()[0])
    except OSError:
        return None
