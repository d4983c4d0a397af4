"""The application: every route, and what all of them share."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from hrpc.testing.consul.rejected import Rejected

_BODY_LIMIT = 16 * 1024 * 1024
_SLASHES = re.compile("/+")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(routes: Iterable[web.RouteDef]) -> web.Application:
    """The application with these routes; errors are answered as Consul answers them."""
    app = web.Application(middlewares=[_answer_errors], client_max_size=_BODY_LIMIT)
    app.add_routes(routes)
    return app


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    if "//" in request.path:
        return web.Response(status=301, headers={"Location": _SLASHES.sub("/", request.path)})
    if "ns" in request.query:
        text = 'Bad request: Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature'
        return web.Response(status=400, text=text)
    try:
        return await handler(request)
    except Rejected as error:
        return web.Response(status=error.status, text=error.text)
    except web.HTTPMethodNotAllowed as error:
        allowed = {"Allow": ",".join(sorted(error.allowed_methods))}
        return web.Response(status=405, text=f"method {request.method} not allowed", headers=allowed)
    except web.HTTPNotFound:
        text = f"DevConsul, a fake for development and tests, does not speak {request.method} {request.path}"
        return web.Response(status=404, text=text)
