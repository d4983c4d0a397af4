"""Who may ask the health port for more than a probe does.

Who connects from this machine's loopback address may, and who sends the token of `hrpc.with_debug`. The address is that
of the connection: headers that name another are what anybody can write, and say only that a proxy stands in between,
behind which anybody may be.
"""

from __future__ import annotations

import hmac
import ipaddress

from aiohttp import HttpVersion11, web

from hrpc.option import DebugSettings

_ADDED = ("forwarded", "x-forwarded", "x-real-ip", "via", "x-envoy-", "x-client-ip", "true-client-ip", "cf-")
"""How the names of headers begin that proxies add."""
_OF_BROWSERS = ("Origin", "Referer", "Sec-Fetch-Site")
_TOKEN_WANTED = "send 'Authorization: Bearer <token>' with the token of hrpc.with_debug(token=…) or HRPC_DEBUG_TOKEN"  # noqa: S105
_NO_TOKEN = "to ask from elsewhere, give the service a token: hrpc.with_debug(token=…) or HRPC_DEBUG_TOKEN"  # noqa: S105


def refusal(settings: DebugSettings, request: web.Request) -> str | None:
    """Why the request is refused, and what to do; None when it is not."""
    todo = _NO_TOKEN if settings.token is None else _TOKEN_WANTED
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if given and settings.token is not None:
        is_right = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), settings.token.encode())
        return None if is_right and scheme.lower() == "bearer" else f"this is not the token; {todo}"
    if not settings.loopback:
        return f"without a token nobody may see this; {todo}"
    if not _is_loopback(request.remote or ""):
        return f"without a token only this machine may see this, over its loopback address; {todo}"
    if named := next((name for name in request.headers if name.lower().startswith(_ADDED)), None):
        return f"a proxy passed this on ({named}), and behind it may be anybody; {todo}"
    # nginx, as long as nothing else is configured, adds no header, and speaks HTTP/1.0 with the host that it passes to.
    if request.version < HttpVersion11:
        return f"a proxy passed this on (HTTP/1.0), and behind it may be anybody; {todo}"
    # A page that somebody has opened in a browser on this machine sends requests here as well, and only the browser
    # says so; it cannot read an answer, but what changes something has then been changed.
    if request.method != "GET" and (named := next((name for name in _OF_BROWSERS if name in request.headers), None)):
        return f"a browser sent this ({named}), for a page that may be anybody's; {todo}"
    # What another proxy without such headers passes on, or a browser that was lured here, names another host. Only the
    # header tells: aiohttp puts the one of the address in its place, or the name of this machine.
    host = request.headers.get("Host", "")
    if not _is_local(host):
        return f"the request is for the host {host!r} and not for localhost; {todo}"
    return None


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return name == "localhost" or _is_loopback(name.strip("[]"))
