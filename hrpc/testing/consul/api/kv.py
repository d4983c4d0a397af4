"""``/v1/kv``: https://developer.hashicorp.com/consul/api-docs/kv."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from hrpc.testing.consul.api.gate import Gate
from hrpc.testing.consul.api.query import answer, index_headers, unsigned, until_newer
from hrpc.testing.consul.changes import Changes
from hrpc.testing.consul.kv import VALUE_LIMIT, LockRefused, Store
from hrpc.testing.consul.rejected import Rejected


class KVRoutes:
    """The key-value store."""

    def __init__(self, store: Store, changes: Changes, gate: Gate) -> None:
        self._store = store
        self._changes = changes
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        path = "/v1/kv/{key:.*}"
        return [web.get(path, self._get, allow_head=False), web.put(path, self._put), web.delete(path, self._delete)]

    async def _get(self, request: web.Request) -> web.Response:
        self._gate.check_datacenter(request)
        key = request.match_info["key"]
        if "keys" in request.query or "recurse" in request.query:
            return await self._get_below(request, key)
        if not key:
            raise Rejected(400, "Missing key name")
        self._gate.require(request)
        await until_newer(request, self._changes, lambda: self._store.index_of(key))
        headers = index_headers(self._store.index_of(key))
        entry = self._store.get(key)
        if entry is None:
            return web.Response(status=404, headers=headers)
        if "raw" in request.query:
            return web.Response(body=entry.value, content_type="text/plain", headers=headers)
        return answer([entry.json()], self._store.index_of(key))

    async def _get_below(self, request: web.Request, prefix: str) -> web.Response:
        visible = self._gate.allows(request)
        await until_newer(request, self._changes, lambda: self._store.index_below(prefix))
        index = self._store.index_below(prefix)
        entries = self._store.below(prefix) if visible else []
        if not entries and prefix:
            return web.Response(status=404, headers=index_headers(index))
        if "keys" in request.query:
            keys = (entry.key for entry in entries)
            return answer(_up_to(request.query.get("separator", ""), prefix, keys), index)
        if not entries:
            return web.Response(status=404, headers=index_headers(index))
        return answer([entry.json() for entry in entries], index)

    async def _put(self, request: web.Request) -> web.Response:
        self._gate.check_datacenter(request)
        key = request.match_info["key"]
        if not key:
            raise Rejected(400, "Missing key name")
        locking = [name for name in ("acquire", "release") if name in request.query]
        if len(locking) + ("cas" in request.query) > 1:
            raise Rejected(400, f"Conflicting flags: {request.query_string}")
        flags = unsigned(request.query["flags"]) if "flags" in request.query else 0
        cas = unsigned(request.query["cas"]) if "cas" in request.query else None
        value = await request.read()
        if len(value) > VALUE_LIMIT:
            raise Rejected(413, f"Request body({len(value)} bytes) too large, max size: {VALUE_LIMIT} bytes.")
        self._gate.require(request)
        if locking:
            return answer(self._locked(locking[0], key, value, request.query[locking[0]]))
        return answer(self._store.put(key, value, flags, cas))

    def _locked(self, what: str, key: str, value: bytes, session: str) -> bool:
        try:
            if what == "acquire":
                self._store.lock(key, value, session)
            else:
                self._store.unlock(key, value, session)
        except LockRefused as refused:
            if "invalid session" in str(refused):
                raise Rejected(500, str(refused)) from refused
            return False
        return True

    async def _delete(self, request: web.Request) -> web.Response:
        self._gate.check_datacenter(request)
        key, recurse = request.match_info["key"], "recurse" in request.query
        if recurse and "cas" in request.query:
            raise Rejected(400, f"Conflicting flags: {request.query_string}")
        if not key and not recurse:
            raise Rejected(400, "Missing key name")
        cas = unsigned(request.query["cas"]) if "cas" in request.query else None
        self._gate.require(request)
        if not recurse:
            return answer(self._store.delete(key, cas))
        self._store.delete_below(key)
        return answer(True)


def _up_to(separator: str, prefix: str, keys: Iterable[str]) -> list[str]:
    """The keys, cut after the first separator behind the prefix, each once."""
    if not separator:
        return list(keys)
    cut: dict[str, None] = {}
    for key in keys:
        head, found, _ = key[len(prefix) :].partition(separator)
        cut[prefix + head + found] = None
    return list(cut)
