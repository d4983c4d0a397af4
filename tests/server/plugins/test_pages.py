"""Pages of plugins below ``/debug/`` of the health port."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

import hrpc
from hrpc.errors import PluginError
from hrpc.server.plugins import pages
from tests.server.plugins.recorded import Loaded
from tests.server.recorded import a_server


class Telling(Loaded):
    """One with a page that tells what it was asked, and others that cannot."""

    def __init__(self, name: str, *paths: str) -> None:
        super().__init__(name)
        self.debug_pages = dict.fromkeys(paths or ("flags", "flags/hangs", "flags/set"), self._page)
        self.does: Any = dict

    async def _page(self, asked: Mapping[str, str]) -> Mapping[str, Any]:
        result = self.does(asked)
        return await result if asyncio.iscoroutine(result) else result  # type: ignore[no-any-return]


async def ask(server: hrpc.Server, path: str, **headers: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{server.health_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response.status, await response.json()


async def test_a_page_tells_whom_debug_lets_in_and_refuses_others() -> None:
    async with a_server(hrpc.with_plugins(Telling("a")), hrpc.with_health_check(0)) as server:
        assert await ask(server, "/debug/flags?name=new-cart") == (200, {"name": "new-cart"})
        status, body = await ask(server, "/debug/flags", **{"X-Forwarded-For": "10.0.0.1"})
        assert status == 403
        assert "a proxy passed this on" in body["error"]


async def test_a_page_that_fails_says_so_and_the_health_port_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "LIMIT", 0.05)
    plugin = Telling("a")
    async with a_server(hrpc.with_plugins(plugin), hrpc.with_health_check(0)) as server:
        for does, says in (
            (lambda _: {}["gone"], "KeyError: 'gone'"),
            (lambda _: {"of": object()}, "TypeError: Object of type object is not JSON serializable"),
            (lambda _: asyncio.Event().wait(), "TimeoutError: no answer within 0.05 s"),
        ):
            plugin.does = does
            assert await ask(server, "/debug/flags") == (500, {"error": says})
        plugin.does = dict
        assert (await ask(server, "/debug/flags"))[0] == 200


@pytest.mark.parametrize(
    ("plugins", "says"),
    [
        ([Telling("a", "flags"), Telling("b", "flags")], "plugin 'b': /debug/flags is a page of plugin 'a'; its own"),
        ([Telling("a", "discovery")], "plugin 'a': /debug/discovery is a page of hrpc; its own needs another path"),
        ([Telling("a", "/flags")], "plugin 'a': the debug page '/flags' takes a path such as flags/unused"),
        ([Telling("a", "{x}")], "plugin 'a': the debug page '{x}' takes a path"),
    ],
)
def test_a_path_that_is_taken_or_is_none_is_an_error(plugins: list[Telling], says: str) -> None:
    with pytest.raises(PluginError) as caught:
        a_server(hrpc.with_plugins(*plugins))
    assert str(caught.value).startswith(says)
