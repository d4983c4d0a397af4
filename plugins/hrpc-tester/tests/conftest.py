"""The servers of these tests, and the browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from tester_service import Shop, Started, shop

import hrpc
import hrpc_tester


@asynccontextmanager
async def _started(
    *options: hrpc.Option, servicer: Shop | None = None, **settings: object
) -> AsyncIterator[tuple[Shop, aiohttp.ClientSession]]:
    tester = hrpc_tester.Tester(0, **settings)
    server, servicer = shop(hrpc.with_plugins(tester), *options, servicer=servicer)
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{tester.port}") as session:
        yield servicer, session


@pytest.fixture
def started() -> Started:
    """Starts a shop with a tester: its servicer, and a client of HTTP."""
    return _started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium of a file: as long as it runs, an event loop does in this thread, so that async tests have none."""
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have every server: no Chromium is installed", pytrace=False)
        pytest.skip("no Chromium is installed: run `make servers`")
    expect.set_options(timeout=15_000)  # as the page's own limit: a busy machine is no fault of it
    with sync_playwright() as playwright:
        # Its sandbox needs a user who is not root.
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield chromium
        chromium.close()
