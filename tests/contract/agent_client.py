"""Talks to a Consul agent over plain HTTP, and waits by its blocking queries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

LIMIT = 30.0
"""Seconds until something that has to happen must have happened."""


@dataclass(frozen=True)
class Answer:
    """One answer; `body` is the JSON value, or the text of what is not JSON."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text) if self.text[:1] in ("[", "{", '"', "t", "f") else self.text

    @property
    def index(self) -> int:
        return int(self.headers["X-Consul-Index"])

    @property
    def hash(self) -> str:
        return self.headers["X-Consul-ContentHash"]


class AgentClient:
    """An agent and a service name that no other test uses."""

    def __init__(self, session: aiohttp.ClientSession, address: str, name: str, token: str = "") -> None:
        self._session = session
        self.token = token
        self.address = address
        self.name = name
        self.ids: set[str] = set()

    async def ask(self, method: str, path: str, body: object = None, **params: str | list[str]) -> Answer:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        query = [
            (key, each) for key, value in params.items() for each in ([value] if isinstance(value, str) else value)
        ]
        headers = {"X-Consul-Token": self.token} if self.token else {}
        async with (
            asyncio.timeout(LIMIT),
            self._session.request(
                method, f"http://{self.address}/v1{path}", data=data, params=query, headers=headers
            ) as answer,
        ):
            return Answer(answer.status, answer.headers, (await answer.read()).decode(errors="replace"))

    async def get(self, path: str, **params: str | list[str]) -> Answer:
        return await self.ask("GET", path, **params)

    async def put(self, path: str, body: object = None, **params: str | list[str]) -> Answer:
        return await self.ask("PUT", path, body, **params)

    async def register(self, query: str = "", **fields: object) -> Answer:
        """Registers a service, under our name and with it as its ID unless the fields say otherwise."""
        self.ids.add(str(fields.get("ID", self.name)))
        return await self.put(f"/agent/service/register{query}", {"Name": self.name} | fields)

    async def deregister(self, service_id: str = "") -> Answer:
        return await self.put(f"/agent/service/deregister/{service_id or self.name}")

    async def health(self, **params: str | list[str]) -> Answer:
        return await self.get(f"/health/service/{self.name}", **params)

    async def check_statuses(self) -> dict[str, str]:
        """Status by ID of the checks of our services."""
        checks = (await self.get("/agent/checks")).body
        return {check["CheckID"]: check["Status"] for check in checks.values() if check["ServiceID"] in self.ids}

    async def until(self, path: str, holds: Callable[[Any], bool], **params: str) -> Answer:
        """Follows a blocking query until its body is as wanted."""
        index = 0
        async with asyncio.timeout(LIMIT):
            while True:
                answer = await self.get(path, index=str(index), wait="20s", **params)
                if answer.status == 200 and holds(answer.body):
                    return answer
                index = answer.index

    async def until_listed(self, *ids: str, **params: str) -> Answer:
        """Waits until exactly these instances are what the health query lists."""
        wanted = sorted(ids)
        return await self.until(
            f"/health/service/{self.name}",
            lambda found: sorted(entry["Service"]["ID"] for entry in found) == wanted,
            **params,
        )

    async def until_check(self, check_id: str, status: str) -> dict[str, Any]:
        """Waits until a check of our service is in this state, and gives it."""

        def matching(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [check for check in checks if (check["CheckID"], check["Status"]) == (check_id, status)]

        answer = await self.until(f"/health/checks/{self.name}", lambda checks: bool(matching(checks)))
        return matching(answer.body)[0]


def ids(answer: Answer) -> list[str]:
    """The IDs of the instances that a health query lists."""
    return [entry["Service"]["ID"] for entry in answer.body]
