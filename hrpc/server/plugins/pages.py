"""The pages of plugins below ``/debug/``: what one process tells, or what each worker does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from loguru import logger

from hrpc.abc import Report
from hrpc.server.parts import Parts
from hrpc.server.plugins.paths import paths

LIMIT = 3.0
"""Seconds in which a page has to be there."""
_COMMAND = "page of a plugin"


def reports(parts: Parts) -> dict[str, Report]:
    """The report of each path: from this process, or from all workers."""
    report = _told if parts.workers is None else _told_by_workers
    return {path: partial(report, parts, path) for path in paths(parts.settings.plugins)}


def answer_master(parts: Parts) -> None:
    """Tells the master what it asks for, in a worker."""
    assert parts.link is not None
    parts.link.on(_COMMAND, partial(_told_to_master, parts))


async def _told(parts: Parts, path: str, asked: Mapping[str, str]) -> Mapping[str, Any]:
    _, report = paths(parts.settings.plugins)[path]
    try:
        async with asyncio.timeout(LIMIT) as limit:
            return await report(asked)
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(f"no answer within {LIMIT:g} s") from None
        raise


async def _told_by_workers(parts: Parts, path: str, asked: Mapping[str, str]) -> Mapping[str, Any]:
    assert parts.workers is not None
    question = {"path": path, "asked": dict(asked)}
    answers = await parts.workers.ask_all(_COMMAND, question, timeout=LIMIT + 1)
    silent = {"note": "it does not answer"}
    numbers = sorted(parts.workers.current)
    return {"workers": {str(each): json.loads(answers[each]) if each in answers else silent for each in numbers}}


async def _told_to_master(parts: Parts, question: Mapping[str, Any]) -> str:
    try:
        body = await _told(parts, question["path"], question["asked"])
        return await asyncio.to_thread(json.dumps, body)
    except Exception as error:  # noqa: BLE001 - of a plugin: it is told where it was asked
        logger.opt(exception=error).error("{}: {} failed", parts.name, question["path"])
        return json.dumps({"error": f"{type(error).__name__}: {error}"})
