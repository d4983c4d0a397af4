"""Sessions: https://developer.hashicorp.com/consul/docs/dynamic-app-config/sessions."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from hrpc.testing.consul.changes import Changes
from hrpc.testing.consul.model import Json

TTL_MINIMUM, TTL_MAXIMUM = 10.0, 86400.0
"""Seconds (session_ttl_min, and Consul's highest)."""
DEFAULT_LOCK_DELAY = 15.0
_PATIENCE = 2.0
"""How many TTLs a session lives without being renewed; Consul promises one at least."""


@dataclass(frozen=True, slots=True)
class Session:
    """One session; durations in seconds."""

    id: str
    name: str
    ttl: float
    lock_delay: float
    behavior: str
    node_checks: tuple[str, ...]
    index: int

    def json(self, node: str) -> Json:
        """The shape of ``/v1/session``."""
        return {
            "ID": self.id,
            "Name": self.name,
            "Node": node,
            "LockDelay": round(self.lock_delay * 1e9),
            "Behavior": self.behavior,
            "TTL": f"{self.ttl:g}s" if self.ttl else "",
            "NodeChecks": list(self.node_checks),
            "ServiceChecks": None,
            "CreateIndex": self.index,
            "ModifyIndex": self.index,
        }


class Sessions:
    """The sessions there are; `ended` is told of each that ends, by whatever end."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._sessions: dict[str, Session] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.ended: Callable[[Session], None] = lambda session: None

    def __contains__(self, id: str) -> bool:
        return id in self._sessions

    def all(self) -> list[Session]:
        """All of them, by ID."""
        return [self._sessions[id] for id in sorted(self._sessions)]

    def get(self, id: str) -> Session | None:
        """One of them."""
        return self._sessions.get(id)

    def create(self, name: str, ttl: float, lock_delay: float, behavior: str, node_checks: tuple[str, ...]) -> Session:
        """A new one."""
        id = str(uuid.uuid4())
        session = Session(id, name, ttl, lock_delay, behavior, node_checks, self._changes.record())
        self._sessions[id] = session
        self._wind(session)
        return session

    def renew(self, id: str) -> Session | None:
        """Lets one live for another TTL."""
        session = self._sessions.get(id)
        if session is not None:
            self._wind(session)
        return session

    def destroy(self, id: str) -> None:
        """Ends one, if it is there."""
        session = self._sessions.pop(id, None)
        if session is None:
            return
        if timer := self._timers.pop(id, None):
            timer.cancel()
        self._changes.record()
        self.ended(session)

    def stop_all(self) -> None:
        """Ends no more of them."""
        for timer in self._timers.values():
            timer.cancel()

    def _wind(self, session: Session) -> None:
        if timer := self._timers.pop(session.id, None):
            timer.cancel()
        if session.ttl:
            later = asyncio.get_running_loop().call_later
            self._timers[session.id] = later(session.ttl * _PATIENCE, self.destroy, session.id)
