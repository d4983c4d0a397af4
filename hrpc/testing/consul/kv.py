"""The key-value store: https://developer.hashicorp.com/consul/api-docs/kv."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from hrpc.testing.consul.changes import Changes
from hrpc.testing.consul.model import Json
from hrpc.testing.consul.sessions import Session, Sessions

VALUE_LIMIT = 512 * 1024
"""Bytes that a value may have (kv_max_value_size)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key."""

    key: str
    value: bytes
    flags: int
    create_index: int
    modify_index: int
    session: str = ""
    """That which has locked it; empty when none has."""
    lock_index: int = 0

    def json(self) -> Json:
        """The shape of ``/v1/kv``; an empty value is null there."""
        return {
            "LockIndex": self.lock_index,
            "Key": self.key,
            "Flags": self.flags,
            "Value": base64.b64encode(self.value).decode() if self.value else None,
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
            **({"Session": self.session} if self.session else {}),
        }


class LockRefused(Exception):
    """A key is not locked, unlocked or as it was expected; the text is Consul's."""


class Store:
    """The keys; deleted ones leave their index behind, so that whoever watches their prefix is told."""

    def __init__(self, changes: Changes, sessions: Sessions) -> None:
        self._changes = changes
        self._sessions = sessions
        self._sessions.ended = self._release
        self._locked_until: dict[str, float] = {}
        self._entries: dict[str, Entry] = {}
        self._deleted: dict[str, int] = {}
        self._last_index = 1

    def get(self, key: str) -> Entry | None:
        """The entry of a key."""
        return self._entries.get(key)

    def below(self, prefix: str) -> list[Entry]:
        """The entries whose keys begin with `prefix`, by key."""
        return [self._entries[key] for key in sorted(self._entries) if key.startswith(prefix)]

    def index_of(self, key: str) -> int:
        """The index of a key's last change; for a key that is not there, that of the store."""
        entry = self._entries.get(key)
        return entry.modify_index if entry else self._last_index

    def index_below(self, prefix: str) -> int:
        """The index of the last change below `prefix`; where nothing ever was, that of the store."""
        indexes = [entry.modify_index for entry in self.below(prefix)]
        indexes += [index for key, index in self._deleted.items() if key.startswith(prefix)]
        return max(indexes, default=self._last_index) if prefix else self._last_index

    def put(self, key: str, value: bytes, flags: int = 0, cas: int | None = None) -> bool:
        """Stores a value; with `cas` only if the key has this index, or, for 0, if it is not there."""
        known = self._entries.get(key)
        if cas is not None and cas != (known.modify_index if known else 0):
            return False
        if known and known.value == value and known.flags == flags:
            return True
        index = self._last_index = self._changes.record()
        if known:
            # One that is locked stays so, and its lock counts from the beginning: as Consul does it.
            self._entries[key] = replace(known, value=value, flags=flags, modify_index=index, lock_index=0)
        else:
            self._entries[key] = Entry(key, value, flags, index, index)
        self._deleted.pop(key, None)
        return True

    def lock(self, key: str, value: bytes, session: str) -> None:
        """Locks a key, or with its own session writes it. Raises `LockRefused`."""
        known = self._entries.get(key)
        if session not in self._sessions:
            raise LockRefused(f'invalid session "{session}"')
        if self._locked_until.get(key, 0.0) > time.monotonic():
            raise LockRefused(f'failed to lock key "{key}" due to lock delay')
        if known and known.session not in ("", session):
            raise LockRefused(f'failed to lock key "{key}", lock is already held')
        index = self._last_index = self._changes.record()
        made = known or Entry(key, value, 0, index, index)
        count = made.lock_index + (made.session != session)
        self._entries[key] = replace(made, value=value, modify_index=index, session=session, lock_index=count)
        self._deleted.pop(key, None)

    def unlock(self, key: str, value: bytes, session: str) -> None:
        """Unlocks a key. Raises `LockRefused` unless this session has it."""
        known = self._entries.get(key)
        if known is None or not session or known.session != session:
            raise LockRefused(f'failed to unlock key "{key}", lock isn\'t held, or is held by another session')
        self._last_index = self._changes.record()
        self._entries[key] = replace(known, value=value, modify_index=self._last_index, session="")

    @contextmanager
    def all_or_nothing(self) -> Iterator[Callable[[], None]]:
        """What it gives takes back all changes since the context was entered; nobody sees them before its end."""
        entries, deleted = dict(self._entries), dict(self._deleted)

        def undo() -> None:
            self._entries, self._deleted = entries, deleted

        yield undo

    def _release(self, session: Session) -> None:
        """Frees what a session that has ended had locked, or deletes it; for a while nobody can lock it."""
        held = [entry for entry in self._entries.values() if entry.session == session.id]
        for entry in held:
            self._locked_until[entry.key] = time.monotonic() + session.lock_delay
            if session.behavior == "delete":
                self._delete([entry.key])
            else:
                self._last_index = self._changes.record()
                self._entries[entry.key] = replace(entry, modify_index=self._last_index, session="")

    def delete(self, key: str, cas: int | None = None) -> bool:
        """Deletes a key; with `cas` only if it has this index. True for a key that is not there."""
        known = self._entries.get(key)
        if known is None:
            return True
        if cas is not None and cas != known.modify_index:
            return False
        self._delete([key])
        return True

    def delete_below(self, prefix: str) -> None:
        """Deletes every key that begins with `prefix`."""
        self._delete([entry.key for entry in self.below(prefix)])

    def _delete(self, keys: list[str]) -> None:
        if keys:
            self._last_index = self._changes.record()
            for key in keys:
                del self._entries[key]
                self._deleted[key] = self._last_index
