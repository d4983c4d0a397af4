"""What the members of a replica set of the tests' own server share: documents, cursors and transactions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import mongodb_documents as documents
from bson import ObjectId
from mongodb_documents import Document

WRITES = frozenset({"insert", "update", "delete", "findAndModify"})
Collections = dict[tuple[str, str], dict[Any, Document]]


class Refused(Exception):
    """An answer with ``ok: 0``."""

    def __init__(self, code: int, name: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.document = {"ok": 0.0, "errmsg": message, "code": code, "codeName": name, **more}


class Store:
    """What the members of one replica set share: each command is answered by the method of its name."""

    def __init__(self) -> None:
        self.collections: Collections = {}
        self.transactions: dict[bytes, Collections] = {}
        self.cursors: dict[int, tuple[str, list[Document]]] = {}
        self.numbers = itertools.count(1001)

    def answer(self, command: Document) -> Document:
        name = next(iter(command))
        method: Callable[[Document], Document] | None = getattr(self, f"_do_{name.lower()}", None)
        if method is None:
            raise Refused(59, "CommandNotFound", f"no such command: {name!r}")
        return method(command)

    def _held(self, command: Document) -> Collections:
        """Where a command reads and writes: in its transaction, if it is in one."""
        if command.get("autocommit", True):
            return self.collections
        session = bytes(command["lsid"]["id"])
        if command.get("startTransaction"):
            self.transactions[session] = deepcopy(self.collections)
        if session not in self.transactions:
            raise Refused(251, "NoSuchTransaction", "no such transaction", errorLabels=["TransientTransactionError"])
        return self.transactions[session]

    def _of(self, command: Document, name: str | None = None) -> dict[Any, Document]:
        key = (command["$db"], name or command[next(iter(command))])
        return self._held(command).setdefault(key, {})

    def _do_insert(self, command: Document) -> Document:
        collection = self._of(command)
        errors, count = [], 0
        for index, document in enumerate(command["documents"]):
            key = _hashed(document["_id"])
            if key in collection:
                errors.append({"index": index, "code": 11000, "errmsg": f"E11000 duplicate key error: _id {key!r}"})
                if command.get("ordered", True):
                    break
            else:
                collection[key] = document
                count += 1
        return {"n": count, **({"writeErrors": errors} if errors else {})}

    def _do_update(self, command: Document) -> Document:
        collection = self._of(command)
        matched = modified = 0
        upserted = []
        for index, each in enumerate(command["updates"]):
            found = [key for key, one in collection.items() if documents.matches(one, each["q"])]
            for key in found if each.get("multi") else found[:1]:
                made = documents.updated(collection[key], each["u"])
                matched, modified = matched + 1, modified + (made != collection[key])
                collection[key] = made
            if not found and each.get("upsert"):
                made = documents.inserted_by(each["q"], each["u"])
                collection[_hashed(made["_id"])] = made
                matched += 1
                upserted.append({"index": index, "_id": made["_id"]})
        return {"n": matched, "nModified": modified, **({"upserted": upserted} if upserted else {})}

    def _do_delete(self, command: Document) -> Document:
        collection = self._of(command)
        count = 0
        for each in command["deletes"]:
            found = [key for key, one in collection.items() if documents.matches(one, each["q"])]
            for key in found[: each["limit"] or None]:
                del collection[key]
                count += 1
        return {"n": count}

    def _do_findandmodify(self, command: Document) -> Document:
        collection = self._of(command)
        found = [one for one in collection.values() if documents.matches(one, command.get("query", {}))]
        before = next(iter(documents.ordered(found, command.get("sort") or {})), None)
        if before is None:
            if not command.get("upsert"):
                return {"value": None}
            made = documents.inserted_by(command["query"], command["update"])
            collection[_hashed(made["_id"])] = made
            return {"value": made if command.get("new") else None}
        if command.get("remove"):
            del collection[_hashed(before["_id"])]
            return {"value": before}
        after = collection[_hashed(before["_id"])] = documents.updated(before, command["update"])
        return {"value": documents.projected(after if command.get("new") else before, command.get("fields"))}

    def _do_find(self, command: Document) -> Document:
        rows = [one for one in self._of(command).values() if documents.matches(one, command.get("filter", {}))]
        rows = documents.ordered(rows, command.get("sort") or {})[command.get("skip", 0) :]
        rows = [documents.projected(one, command.get("projection")) for one in rows[: command.get("limit") or None]]
        size = command.get("batchSize", 101)
        return self._cursor(command, command["find"], rows, size, is_single=command.get("singleBatch", False))

    def _do_aggregate(self, command: Document) -> Document:
        rows = documents.piped(self._of(command).values(), command["pipeline"])
        return self._cursor(command, command["aggregate"], rows, command.get("cursor", {}).get("batchSize", 101))

    def _do_count(self, command: Document) -> Document:
        query = command.get("query", {})
        return {"n": sum(documents.matches(one, query) for one in self._of(command).values())}

    def _do_distinct(self, command: Document) -> Document:
        rows = [one for one in self._of(command).values() if documents.matches(one, command.get("query") or {})]
        values = {documents.found(one, command["key"]) for one in rows}
        return {"values": sorted(values)}

    def _do_drop(self, command: Document) -> Document:
        if self._held(command).pop((command["$db"], command["drop"]), None) is None:
            raise Refused(26, "NamespaceNotFound", "ns not found")
        return {}

    def _do_create(self, command: Document) -> Document:
        self._of(command)
        return {}

    def _do_createindexes(self, command: Document) -> Document:
        """There are none: it only says so."""
        self._of(command)
        return {"numIndexesBefore": 1, "numIndexesAfter": 1 + len(command["indexes"])}

    def _do_listindexes(self, command: Document) -> Document:
        if (command["$db"], command["listIndexes"]) not in self._held(command):
            raise Refused(26, "NamespaceNotFound", "ns does not exist")
        return self._cursor(command, command["listIndexes"], [{"v": 2, "key": {"_id": 1}, "name": "_id_"}], 101)

    def _do_listcollections(self, command: Document) -> Document:
        names = sorted(name for database, name in self._held(command) if database == command["$db"])
        rows = [{"name": name, "type": "collection"} for name in names]
        wanted = command.get("filter") or {}
        rows = [row for row in rows if documents.matches(row, wanted)]
        return self._cursor(command, "$cmd.listCollections", rows, 1000)

    # Cursors and transactions.

    def _cursor(
        self, command: Document, name: str, rows: list[Document], size: int, *, is_single: bool = False
    ) -> Document:
        namespace = f"{command['$db']}.{name}"
        batch, left = rows[:size], rows[size:]
        number = 0
        if left and not is_single:
            number = next(self.numbers)
            self.cursors[number] = namespace, left
        return {"cursor": {"firstBatch": batch, "id": number, "ns": namespace}}

    def _do_getmore(self, command: Document) -> Document:
        number = command["getMore"]
        if number not in self.cursors:
            raise Refused(43, "CursorNotFound", f"cursor id {number} not found")
        namespace, rows = self.cursors.pop(number)
        size = command.get("batchSize") or len(rows)
        batch, left = rows[:size], rows[size:]
        if left:
            self.cursors[number] = namespace, left
        return {"cursor": {"nextBatch": batch, "id": number if left else 0, "ns": namespace}}

    def _do_killcursors(self, command: Document) -> Document:
        killed = [number for number in command["cursors"] if self.cursors.pop(number, None)]
        return {"cursorsKilled": killed, "cursorsNotFound": [], "cursorsAlive": [], "cursorsUnknown": []}

    def _do_committransaction(self, command: Document) -> Document:
        self.collections.update(self._held(command))
        del self.transactions[bytes(command["lsid"]["id"])]
        return {}

    def _do_aborttransaction(self, command: Document) -> Document:
        self._held(command)
        del self.transactions[bytes(command["lsid"]["id"])]
        return {}


def _hashed(value: Any) -> Any:
    return value if isinstance(value, ObjectId | str | int | float | bytes) else repr(value)
