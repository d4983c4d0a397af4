"""Answers the requests of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import grpc
import grpc.aio
from aiohttp import web

from hrpc.server.served import Served
from hrpc_tester import access, calls, headers, openapi, reading
from hrpc_tester.methods import Match, Methods
from hrpc_tester.page import Page
from hrpc_tester.problem import Problem

_LARGE = 64 * 1024
"""Bytes of a body from which on it is read in a thread, because the event loop would stand still for it."""


class Site:
    """What the tester shows of a server that serves, and its methods."""

    def __init__(self, served: Served, channel: grpc.aio.Channel, hosts: Collection[str]) -> None:
        """`channel` leads to the server; `hosts` are the names under which the tester may be asked."""
        settings = served.settings
        self._channel = channel
        self._hosts = hosts
        self._methods = Methods(served.methods, is_generic=served.is_generic)
        described = self._methods.all.values()
        self._page = Page(settings.server_name, str(settings.environment), described)
        self._document = openapi.document(settings.server_name, settings.registration.version, described)
        self._own: dict[str, Callable[[], web.Response]] = {"/": self._show, "/openapi.json": self._describe}
        self.drains = False
        """Whether each answer is to be the last on its connection."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answers a request."""
        answered: dict[str, str] = {}
        try:
            answer = await self._answer(request, answered)
        except Problem as wrong:
            answer = calls.refusal(wrong, answered)
        except web.HTTPRequestEntityTooLarge:
            too_large = f"the body has more than {request.client_max_size} bytes: hrpc_tester.with_tester(max_body=…)"
            answer = calls.refusal(Problem(grpc.StatusCode.RESOURCE_EXHAUSTED, too_large, status=413), answered)
        except web.RequestPayloadError:
            encoding = request.headers.get("Content-Encoding", "none")
            unreadable = f"the body cannot be read as its headers say (Content-Encoding: {encoding})"
            answer = calls.refusal(Problem(grpc.StatusCode.INVALID_ARGUMENT, unreadable), answered)
            answer.force_close()  # where the next request begins is not known
        if not answer.prepared:
            answer.headers.extend({name: value for name, value in calls.COMMON.items() if name not in answer.headers})
            if self.drains:
                answer.force_close()
        return answer

    async def _answer(self, request: web.Request, answered: dict[str, str]) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        own = self._own.get(path) if request.method in ("GET", "HEAD") else None
        access.check(request, self._hosts, is_page=own is not None)
        if own is not None:
            return own()
        if self.drains:
            # The server takes no new call either, and a connection to it may not even fail.
            raise Problem(grpc.StatusCode.UNAVAILABLE, "the service stops")
        match = self._methods.match(request.method, path)
        if match.method.descriptor.client_streaming:
            raise Problem(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{match.method.path} takes a stream of messages, which one request of HTTP cannot be: call it by gRPC",
            )
        metadata, current = headers.received(request)
        answered[headers.TRACE] = current.trace_id
        timeout = headers.timeout(request.headers)
        message = await self._read(request, match)
        prepared = calls.Prepared(match, message, metadata, timeout, answered)
        if match.method.descriptor.server_streaming:
            return await calls.stream(self._channel, prepared, request)
        return await calls.unary(self._channel, prepared)

    async def _read(self, request: web.Request, match: Match) -> Any:
        body, query = await request.read(), list(request.query.items())
        read: Callable[[], Any]
        if match.binding is None:
            read = lambda: reading.by_path(match.method, body, query)  # noqa: E731
        else:
            binding, variables = match.binding, match.variables or {}
            read = lambda: reading.by_binding(match.method, binding, variables, body, query)  # noqa: E731
        return await asyncio.to_thread(read) if len(body) > _LARGE else read()

    def _show(self) -> web.Response:
        return web.Response(body=self._page.body, headers=self._page.headers, content_type="text/html", charset="utf-8")

    def _describe(self) -> web.Response:
        return web.json_response(self._document)
