"""The HTTP transport below python-consul2: one pooled session, a limit for every request, one error tree.

python-consul2's own transport opens a connection for each request, knows no timeouts and leaks the errors of others.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import yarl
from consul import base
from loguru import logger

from hrpc.consul.connections import Connections
from hrpc.consul.current_token import CurrentToken
from hrpc.consul.refusal import advice, refusal, unknown_token
from hrpc.consul.requests import Requests
from hrpc.consul.tls import GIVE_CERTIFICATE, client_context, tls_fault
from hrpc.consul.token import Token
from hrpc.errors import ConsulPermissionDenied, ConsulRefused, ConsulUnreachable
from hrpc.option import Consul

Params = Mapping[str, Any] | list[tuple[str, Any]] | None


class Transport(base.HTTPClient):  # type: ignore[misc]
    """Sends requests to one Consul agent; for use as ``async with``.

    Raises `ConsulUnreachable`, `ConsulPermissionDenied` (403) or `ConsulRefused` (other failures). A 404 is an answer.
    """

    def __init__(self, consul: Consul, token: Token | None = None) -> None:
        """`token`: that of another transport to the same agent, to share it. Raises what is wrong with the files."""
        self.consul = consul
        self.token = token or Token(consul)
        self.current_token = CurrentToken(self.token)
        self._unix = consul.url.removeprefix("unix://") if consul.url.startswith("unix://") else None
        self.address = consul.url
        self.base_uri = "http://consul" if self._unix else consul.url
        self._scope = {"ns": consul.namespace, "partition": consul.partition}
        self._ssl = client_context(consul) if consul.url.startswith("https:") else None
        self._session: aiohttp.ClientSession | None = None
        self.requests = Requests(self.base_uri)
        self.reachable = True
        """Whether the last request was answered."""
        self.denied = 0
        """Requests that were answered 403."""
        self.token_refused = False
        """Whether Consul does not know the token at the moment: it has expired, or was deleted."""

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(self._unix, limit=0) if self._unix else Connections(self._ssl)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._session is not None
        connector = self._session.connector
        await self._session.close()
        if isinstance(connector, Connections):
            await connector.end()

    async def request(
        self,
        method: str,
        path: str,
        params: Params = None,
        *,
        data: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        wait: float = 0.0,
    ) -> base.Response:
        """One request. `wait` is the time in seconds for which Consul may hold a blocking query.

        It is asked again when the token changes: a blocking query then without waiting, because another token may see
        something else.
        """
        if wait or self.requests.tracer is None:
            return await self._request(method, path, params, data, headers, wait)
        with self.requests.traced(method, path) as answered:
            response = await self._request(method, path, params, data, headers, wait)
            answered(response.code)
        return response

    async def _request(
        self,
        method: str,
        path: str,
        params: Params,
        data: bytes | str | None,
        headers: Mapping[str, str] | None,
        wait: float,
    ) -> base.Response:
        used = self.current_token.value
        try:
            if not wait:
                return await self._send(method, path, params, data, headers, 0.0)
            asking = self._send(method, path, params, data, headers, wait)
            if response := await self.current_token.until_changed(path, asking):
                return response
        except ConsulPermissionDenied:
            if self.current_token.value == used:  # else another request has found it meanwhile
                await self.current_token.refresh()
            if self.current_token.value == used:
                raise
        return await self._send(method, path, _at_once(params) if wait else params, data, headers, 0.0)

    async def _send(
        self,
        method: str,
        path: str,
        params: Params,
        data: bytes | str | None,
        headers: Mapping[str, str] | None,
        wait: float,
    ) -> base.Response:
        assert self._session is not None
        token = self.current_token.value
        # Consul adds up to a sixteenth of the wait (https://developer.hashicorp.com/consul/api-docs/features/blocking).
        limit = self.consul.timeout + wait * 17 / 16
        try:
            # Not by aiohttp's `total`: a task that is cancelled in the moment in which that runs out is not cancelled.
            async with (
                asyncio.timeout(limit),
                self._session.request(
                    method,
                    # As it is: a path that was tidied up could lead to another endpoint.
                    yarl.URL(self.uri(path, self._scoped(params)), encoded=True),
                    allow_redirects=False,
                    data=data,
                    headers={**(headers or {}), "X-Consul-Token": token} if token else headers,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.consul.timeout),
                    server_hostname=self.consul.tls_server_name,
                ) as response,
            ):
                content = await response.read()
        except TimeoutError as error:
            self.reachable = False
            raise ConsulUnreachable(f"no answer from Consul at {self.address} within {limit:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            self.reachable = False
            raise ConsulUnreachable(f"no answer from Consul at {self.address}: {self._reason(error)}") from error
        self.reachable = True
        body = content.decode("utf-8", "replace")
        self._check(f"{method} {path}", response.status, body, params)
        return base.Response(response.status, response.headers, body, content)

    def _reason(self, error: Exception) -> str:
        fault = tls_fault(error)
        if fault is not None:
            return fault
        cut_off = isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError | BrokenPipeError)
        if isinstance(error, OSError) and error.errno:
            said = os.strerror(error.errno).lower()
            cut_off = cut_off or error.errno in (errno.ECONNRESET, errno.EPIPE)
        else:
            said = "connection cut off" if cut_off else str(error) or type(error).__name__
        # Its alert about the certificate can get lost with the connection.
        return f"{said}; if it verifies its clients, {GIVE_CERTIFICATE}" if cut_off and self._ssl else said

    def _scoped(self, params: Params) -> Params:
        scope = [(name, value) for name, value in self._scope.items() if value]
        if not scope:
            return params
        return [*(params.items() if isinstance(params, Mapping) else params or ()), *scope]

    def _check(self, what: str, status: int, body: str, params: Params) -> None:
        if status == 403:
            self.denied += 1
            if unknown_token(body) and not self.token_refused:
                self.token_refused = True
                logger.error("Consul at {}: {}; nothing is renewed until then", self.address, advice(self.token, body))
        elif self.token_refused and "/v1/status/" not in what:  # of which Consul tells everybody
            self.token_refused = False
            logger.info("Consul at {}: the ACL token is known again", self.address)
        datacenter = dict(params or ()).get("dc", self.consul.datacenter) if status >= 300 else None
        error = refusal(self.consul, self.token, what, status, body, datacenter)
        if error is not None:
            raise error

    async def _call(self, callback: Callable[[Any], Any], method: str, path: str, params: Params, **kwargs: Any) -> Any:
        response = await self.request(method, path, params, wait=_wait(params), **kwargs)
        try:
            return callback(response)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise self.not_consul(f"{method} {path}", response.code) from error

    def not_consul(self, what: str, status: int) -> ConsulRefused:
        """The error for an answer that cannot be Consul's."""
        return ConsulRefused(f"{self.address} answers {what} with what is not Consul's: check the address", status)

    async def get(self, callback: Any, path: str, params: Params = None, headers: Any = None) -> Any:
        return await self._call(callback, "GET", path, params, headers=headers)

    async def put(self, callback: Any, path: str, params: Params = None, data: Any = "", headers: Any = None) -> Any:
        return await self._call(callback, "PUT", path, params, data=data, headers=headers)

    async def delete(self, callback: Any, path: str, params: Params = None, data: Any = "", headers: Any = None) -> Any:
        return await self._call(callback, "DELETE", path, params, data=data, headers=headers)

    async def post(self, callback: Any, path: str, params: Params = None, data: Any = "", headers: Any = None) -> Any:
        return await self._call(callback, "POST", path, params, data=data, headers=headers)

    def json(self, what: str, response: base.Response, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
        """The JSON of an answer; raises `ConsulRefused` when it is none, or not of this kind."""
        try:
            found = json.loads(response.body)
        except ValueError as error:
            raise self.not_consul(what, response.code) from error
        if not isinstance(found, kind):
            raise self.not_consul(what, response.code)
        return found


def _wait(params: Params) -> float:
    wait = str(dict(params or {}).get("wait") or "0")
    return float(wait.removesuffix("s"))


def _at_once(params: Params) -> Params:
    """The parameters of a blocking query without those that make it wait."""
    pairs = params.items() if isinstance(params, Mapping) else params or ()
    return [(name, value) for name, value in pairs if name not in ("index", "hash", "wait")]
