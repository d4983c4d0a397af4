"""The key-value store: https://developer.hashicorp.com/consul/api-docs/kv."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from hrpc.testing.consul.changes import Changes
from hrpc.testing.consul.model import Json

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

    def json(self) -> Json:
        """The shape of ``/v1/kv``; an empty value is null there."""
        return {
            "LockIndex": 0,
            "Key": self.key,
            "Flags": self.flags,
            "Value": base64.b64encode(self.value).decode() if self.value else None,
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
        }


class Store:
    """The keys; deleted ones leave their index behind, so that whoever watches their prefix is told."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
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
        self._entries[key] = Entry(key, value, flags, known.create_index if known else index, index)
        self._deleted.pop(key, None)
        return True

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
