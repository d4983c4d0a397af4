"""The requests to the sidecar-agent."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import aiohttp
from aiohttp.http import HttpProcessingError

from hrpc_sidecar import place
from hrpc_sidecar.errors import SidecarApiError, reason
from hrpc_sidecar.node import ServiceNode

_LARGEST_ANSWER = 1 << 16


class ApiClient:
    """Registers, drains and deregisters at one agent.

    200 is a success, whatever the body, unless it says ``"success": false``. Each method raises `SidecarApiError`.
    """

    def __init__(self, base_url: str = place.DEFAULT_BASE_URL, timeout: float = 3.0) -> None:
        """`timeout`: seconds for each request. Raises `hrpc.errors.OptionError`."""
        self._base_url = place.base_url(base_url) or place.DEFAULT_BASE_URL
        self._timeout = timeout

    async def register(self, node: ServiceNode) -> None:
        """``POST /register``."""
        await self._post("/register", node.as_dict())

    async def drain(self, node: ServiceNode, grace_period: float) -> None:
        """``POST /drain``: no new calls are to be sent to the service; it ends after `grace_period` seconds."""
        await self._post("/drain", node.drain_request(grace_period))

    async def deregister(self, node: ServiceNode) -> None:
        """``POST /deregister``."""
        await self._post("/deregister", node.deregister_request())

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        try:
            # A connection for each: requests are rare, and one that was kept may be to an agent that is no more.
            async with (
                asyncio.timeout(self._timeout),
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.post(self._base_url + path, json=body, allow_redirects=False) as response,
            ):
                status, said = response.status, _envelope(await _read(response))
        except TimeoutError as error:
            raise SidecarApiError("POST", path, None, message=f"no answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise SidecarApiError("POST", path, None, message=reason(error)) from error
        if status != 200 or said.success is False:
            raise SidecarApiError("POST", path, status, said.code, said.message)


class _Envelope(NamedTuple):
    success: object
    code: str
    message: str


async def _read(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.content.readexactly(_LARGEST_ANSWER)
    except asyncio.IncompleteReadError as whole:
        return whole.partial


def _envelope(body: bytes) -> _Envelope:
    """What an answer says of itself; for one that is no JSON object, its text."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return _Envelope(None, "", str(body[:500], "utf-8", "replace").strip())
    success = said.get("success")
    return _Envelope(
        success if isinstance(success, bool) else None, _word(said.get("code")), _word(said.get("message"))
    )


def _word(value: object) -> str:
    return "" if value is None else str(value)
