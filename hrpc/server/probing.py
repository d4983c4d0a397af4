"""What the control socket answers about health: the probes, and their switches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from hrpc.health import registering
from hrpc.health.checker import Kind
from hrpc.health.state import Health
from hrpc.option import checks
from hrpc.server.control import Answer, Control


def answer(control: Control, health: Health) -> None:
    """Adds the commands ``startup``, ``liveness`` and ``readiness``, and ``open`` and ``close`` of a ``kind``."""
    for kind in Kind:
        control.on(kind, partial(_probe, health, kind))
    control.on("open", partial(_open, health))
    control.on("close", partial(_close, health))


async def _probe(health: Health, kind: Kind, request: Mapping[str, Any]) -> Answer:
    within = request.get("within")
    found = await health.ask(kind, None if within is None else checks.seconds("probe", "within", within))
    return {"ok": found.well, "parts": found.parts, "text": found.wrong or "ok"}


async def _open(health: Health, request: Mapping[str, Any]) -> Answer:
    health.open(registering.kind("open", request.get("kind")))
    return {"ok": True, "text": "open"}


async def _close(health: Health, request: Mapping[str, Any]) -> Answer:
    reason = registering.reason("close", request.get("reason", "by command"))
    health.close(registering.kind("close", request.get("kind")), reason)
    return {"ok": True, "text": f"closed: {reason}"}
