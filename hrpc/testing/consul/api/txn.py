"""``/v1/txn``, of which the operations on keys: https://developer.hashicorp.com/consul/api-docs/txn."""

from __future__ import annotations

import base64
import json
from typing import Any

from aiohttp import web

from hrpc.testing.consul.api.gate import Gate
from hrpc.testing.consul.api.query import answer
from hrpc.testing.consul.kv import LockRefused, Store
from hrpc.testing.consul.model import Json
from hrpc.testing.consul.rejected import Rejected


class TxnRoutes:
    """Operations that are all done, or none of them."""

    def __init__(self, store: Store, gate: Gate) -> None:
        self._store = store
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [web.put("/v1/txn", self._commit)]

    async def _commit(self, request: web.Request) -> web.Response:
        self._gate.check_datacenter(request)
        try:
            operations = [operation["KV"] for operation in json.loads(await request.read())]
        except (ValueError, KeyError, TypeError) as error:
            raise Rejected(400, f"Failed to parse body: {error}") from error
        self._gate.require(request)
        results: list[Json] = []
        with self._store.all_or_nothing() as undo:
            for number, operation in enumerate(operations):
                try:
                    results.append({"KV": self._done(operation)})
                except LockRefused as refused:
                    undo()
                    return answer({"Results": None, "Errors": [{"OpIndex": number, "What": str(refused)}]}, status=409)
        return answer({"Results": results, "Errors": None})

    def _done(self, operation: dict[str, Any]) -> Json:
        store, verb, key = self._store, operation["Verb"], operation["Key"]
        value = base64.b64decode(operation.get("Value") or "")
        session, found = operation.get("Session", ""), store.get(key)
        match verb:
            case "set":
                store.put(key, value)
            case "lock":
                store.lock(key, value, session)
            case "unlock":
                store.unlock(key, value, session)
            case "check-not-exists":
                if found is not None:
                    raise LockRefused(f'key "{key}" exists')
                return {"Key": key, "Value": None}
            case "check-index":
                at = found.modify_index if found else 0
                if at != operation.get("Index", 0):
                    wanted = operation.get("Index", 0)
                    raise LockRefused(f'failed index check for key "{key}", current modify index {at} != {wanted}')
            case "check-session":
                holder = found.session if found else ""
                if found is None or holder != session:
                    raise LockRefused(
                        f'failed session check for key "{key}", current session "{holder}" != "{session}"'
                    )
            case _:
                raise LockRefused(f'unknown KV verb "{verb}"')
        entry = store.get(key)
        assert entry is not None
        return {**entry.json(), "Value": None}
