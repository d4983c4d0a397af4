"""The HTTP transport below python-consul2: one pooled session, a limit for every request, one error tree.

python-consul2's own transport opens a connection for each request, knows no timeouts and leaks the errors of others.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yarl
from consul import base

from hrpc.consul.requests import Requests
from hrpc.errors import CertificateError, ConsulPermissionDenied, ConsulRefused, ConsulUnreachable, OptionError
from hrpc.option import Consul

Params = Mapping[str, Any] | list[tuple[str, Any]] | None


class Transport(base.HTTPClient):  # type: ignore[misc]
    """Sends requests to one Consul agent; for use as ``async with``.

    Raises `ConsulUnreachable`, `ConsulPermissionDenied` (403) or `ConsulRefused` (other failures). A 404 is an answer.
    """

    def __init__(self, consul: Consul) -> None:
        self._consul = consul
        self._unix = consul.url.removeprefix("unix://") if consul.url.startswith("unix://") else None
        self.address = consul.url
        self.base_uri = "http://consul" if self._unix else consul.url
        self._headers = _headers(consul)
        self._ssl = _ssl_context(consul) if consul.url.startswith("https:") else None
        self._session: aiohttp.ClientSession | None = None
        self.requests = Requests(self.base_uri)

    async def __aenter__(self) -> Self:
        connector: aiohttp.BaseConnector
        if self._unix:
            connector = aiohttp.UnixConnector(self._unix, limit=0)
        else:
            # A blocking query holds its connection for a minute, so the number of connections is that of the watches.
            connector = aiohttp.TCPConnector(limit=0, ssl=self._ssl or False)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

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
        """One request. `wait` is the time in seconds for which Consul may hold a blocking query."""
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
        assert self._session is not None
        # Consul adds up to a sixteenth of the wait (https://developer.hashicorp.com/consul/api-docs/features/blocking).
        limit = self._consul.timeout + wait * 17 / 16
        try:
            async with self._session.request(
                method,
                # As it is: a path that was tidied up could lead to another endpoint.
                yarl.URL(self.uri(path, params), encoded=True),
                allow_redirects=False,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=limit, sock_connect=self._consul.timeout),
            ) as response:
                content = await response.read()
        except TimeoutError as error:
            raise ConsulUnreachable(f"no answer from Consul at {self.address} within {limit:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConsulUnreachable(f"no answer from Consul at {self.address}: {_reason(error)}") from error
        body = content.decode("utf-8", "replace")
        self._check(f"{method} {path}", response.status, body)
        return base.Response(response.status, response.headers, body, content)

    def _check(self, what: str, status: int, body: str) -> None:
        text = body.strip()[:300]
        if status == 403:
            raise ConsulPermissionDenied(
                f"Consul at {self.address} answers 403 to {what}: {text or 'Permission denied'}; "
                "the ACL token may not do this: check Consul(token=…), CONFIGS_TOKEN or CONSUL_HTTP_TOKEN"
            )
        if "No path to datacenter" in text:
            raise ConsulRefused(
                f"Consul at {self.address} knows no datacenter {self._consul.datacenter!r}: "
                "check Consul(datacenter=…) or CONFIGS_DATACENTER",
                status,
            )
        if status >= 300 and status != 404:
            raise ConsulRefused(f"Consul at {self.address} answers {status} to {what}: {text}", status)

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


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "connection cut off"
    return str(error) or type(error).__name__


def _headers(consul: Consul) -> dict[str, str]:
    token = consul.token
    if token is None and consul.token_file is not None:
        try:
            token = Path(consul.token_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(
                f"the token file {consul.token_file!r} (Consul(token_file=…) or CONSUL_HTTP_TOKEN_FILE) "
                f"cannot be read: {getattr(error, 'strerror', None) or 'not text'}"
            ) from error
    token = (token or "").strip()
    if not token.isprintable():
        raise OptionError("the Consul token has characters that no token has: check Consul(token=…) or CONFIGS_TOKEN")
    return {"X-Consul-Token": token} if token else {}


def _ssl_context(consul: Consul) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=consul.ca_cert)
        if consul.client_cert and consul.client_key:
            context.load_cert_chain(consul.client_cert, consul.client_key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"the certificates for Consul cannot be used: {error}; check Consul(ca_cert=…, client_cert=…, "
            "client_key=…), CONSUL_CACERT, CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY"
        ) from error
    return context


async def until_answered(transport: Transport, limit: float) -> None:
    """Waits until the agent answers at all, at most `limit` seconds: it may be starting at the same moment as we.

    Raises `ConsulUnreachable`, which says for how long it was tried.
    """
    pause = 0.05
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while True:
        try:
            await transport.request("GET", "/v1/status/leader")
        except ConsulUnreachable as error:
            tried = loop.time() - begun
            if tried + pause > limit:
                raise ConsulUnreachable(
                    f"{error} (tried for {tried:.1f} s); start Consul there, or change Consul(address=…) or "
                    "CONFIGS_ADDR"
                ) from error.__cause__
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2)
        else:
            return
