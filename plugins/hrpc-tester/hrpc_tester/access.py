"""Which requests are let in: a browser sends them for any page that somebody has opened, not only for ours.

- A page of another origin is refused by ``Origin`` and ``Sec-Fetch-Site``, and a form, which sends neither in old
  browsers, by its content type: a request with a body has to be ``application/json``, for which a browser asks first,
  and is not allowed.
- A page whose host name its owner points to this machine (DNS rebinding) is of the same origin for the browser. It is
  refused by its name: the host of a request is an IP address, localhost, or a name that was given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

import grpc
from aiohttp import web

from hrpc_tester.problem import Problem

_WITHOUT_BODY = ("GET", "HEAD", "DELETE")


def check(request: web.Request, hosts: Collection[str], *, is_page: bool = False) -> None:
    """Raises `Problem` for a request that a page of somebody else's may have sent.

    `hosts` are names that are ours; `is_page`: it calls nothing, and anybody may link to it.
    """
    host = request.headers.get("Host", "")
    name = _name(host)
    if not _is_address(name) and name not in hosts:
        raise _refused(
            f"the host {host!r} is not known here, and any page could use it; give it to "
            "hrpc_tester.with_tester(hosts=…), or use an IP address or localhost"
        )
    if is_page:
        return
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
        raise _refused(f"a page of {origin} has sent this; only the tester's own page may")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin"):
        raise _refused(f"a page of another site has sent this ({site}); only the tester's own page may")
    if (request.method not in _WITHOUT_BODY or request.body_exists) and request.content_type != "application/json":
        raise Problem(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"send Content-Type: application/json, not {request.headers.get('Content-Type', 'none')}",
            status=415,
        )


def _name(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower().strip("[]").rstrip(".")


def _is_address(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refused(why: str) -> Problem:
    return Problem(grpc.StatusCode.PERMISSION_DENIED, why)
