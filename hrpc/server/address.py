"""The address that a service tells others to connect to."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from hrpc.errors import OptionError
from hrpc.option import Consul, checks

# Reserved for documentation (RFC 5737, RFC 3849): asking for the route to it sends nothing.
_ANYWHERE = ("192.0.2.1", "2001:db8::1")
_REMEDY = "say which address others reach it by, with hrpc.with_registration(address=…) or HRPC_ADVERTISE"


class Advertised(NamedTuple):
    """An address, and what says so: an option, a variable, or a route of this machine."""

    address: str
    origin: str


def advertised(
    explicit: str | None,
    consul: Consul | None,
    listen_host: str,
    environ: Mapping[str, str] | None = None,
    route: Callable[[str, int], str | None] | None = None,
) -> Advertised:
    """The first of: what the code says, ``HRPC_ADVERTISE``, ``POD_IP``, the one interface that is listened on, this
    machine's end of the route to Consul, its end of the default route; the loopback only for an agent that is on it.
    Without Consul, whoever is told of it is on this machine, and takes the loopback as well.

    Raises `OptionError` when none is left, or when the first one is nothing that others could connect to.
    """
    environ = os.environ if environ is None else environ
    route = route or _route
    url = "unix:" if consul is None else consul.url
    agent = urlsplit(url)
    to_agent = "127.0.0.1" if agent.scheme == "unix" else route(agent.hostname or "", agent.port or 8500)
    # An agent is also asked by the address of this machine's own interface; the route to it begins where it ends.
    agent_is_here = to_agent is not None and (_is_loopback(to_agent) or to_agent == agent.hostname)
    for origin, value in (
        ("hrpc.with_registration(address=…)", explicit),
        ("HRPC_ADVERTISE", environ.get("HRPC_ADVERTISE")),
        ("POD_IP", environ.get("POD_IP")),
        ("hrpc.with_listen_port(host=…)", None if _is_every(listen_host) else listen_host),
    ):
        if value:
            address = checks.host(origin, value.strip())
            if not agent_is_here and _is_loopback(address):
                raise OptionError(
                    f"{origin}: {value!r} leads callers to their own machine, and Consul at {url} is on another "
                    f"one; {_REMEDY}"
                )
            return Advertised(address, origin)
    to_others = (Advertised(route(host, 9) or "", "the default route") for host in _ANYWHERE)
    for found in (Advertised(to_agent or "", "the route to Consul"), *to_others):
        if found.address and not _is_loopback(found.address) and not _is_link_local(found.address):
            return found
    if to_agent and agent_is_here:
        return Advertised(to_agent, "the route to Consul" if consul is not None else "the loopback")
    raise OptionError(
        f"no address to register: this machine has no route to Consul at {url} and none to the network; {_REMEDY}"
    )


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _is_every(host: str) -> bool:
    ip = _ip(host)
    return ip is not None and ip.is_unspecified


def _is_loopback(address: str) -> bool:
    ip = _ip(address)
    return address.rstrip(".").lower() == "localhost" if ip is None else ip.is_loopback


def _is_link_local(address: str) -> bool:
    """Whether it means something only together with the name of an interface."""
    ip = _ip(address)
    return ip is not None and ip.version == 6 and ip.is_link_local


def _route(host: str, port: int) -> str | None:
    """This machine's address on the way to `host`; asks the kernel, sends nothing."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as sock:
            sock.connect(address)
            return str(sock.getsockname()[0])
    except OSError:
        return None
