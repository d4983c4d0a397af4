"""What the server knows of itself, as JSON on the health port, for whoever may see it.

``GET /debug/discovery`` and ``GET /debug/registration`` answer whom `hrpc.health.access` lets in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from loguru import logger

from hrpc.abc import Report
from hrpc.health import access
from hrpc.health.http import Route
from hrpc.option import DebugSettings


def routes(settings: DebugSettings, reports: Mapping[str, Report]) -> Mapping[str, Route]:
    """The handler of each path: the report, or 403 and what to do."""
    return {path: _guarded(settings, report) for path, report in reports.items()}


def _guarded(settings: DebugSettings, report: Report) -> Route:
    async def answer(request: web.Request) -> web.Response:
        refused = access.refusal(settings, request)
        if refused is not None:
            return _json({"error": refused}, 403)
        try:
            body = await report(request.query)
            # Of a thousand services this takes a fifth of a second, for which no call would be served.
            return await asyncio.to_thread(_json, body, 200)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything, also by what JSON cannot say
            logger.opt(exception=error).error("{} failed", request.path)
            return _json({"error": f"{type(error).__name__}: {error}"}, 500)

    return answer


def _json(body: Mapping[str, Any], status: int) -> web.Response:
    text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    headers = {"Cache-Control": "no-store"}
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)
