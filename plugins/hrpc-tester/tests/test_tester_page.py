"""The page in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import tester_process
from playwright.sync_api import Browser, Page, expect
from tester_process import Running
from tester_service import PATH


@pytest.fixture(scope="module")
def server(_run_folder: str) -> Iterator[Running]:
    """The shop of this file."""
    with tester_process.running(_run_folder) as running:
        yield running


@pytest.fixture
def running(server: Running) -> Running:
    """The same, and nothing has been asked of it yet."""
    server.asked()
    return server


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    """The page, in which nothing may fail: neither a script nor its policy."""
    context = browser.new_context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(15_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(running.url)
    yield page
    context.close()
    assert wrong == []
    assert all(url.startswith((running.url, "data:")) for url in asked)


def choose(page: Page, method: str) -> None:
    page.locator(f"nav a[href='#{PATH}/{method}']").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(method)


def send(page: Page, body: Any) -> None:
    page.get_by_role("textbox", name="Request").fill(json.dumps(body))
    page.get_by_role("button", name="Send").click()


def answer(page: Page) -> Any:
    return json.loads(page.locator("#answer pre").first.inner_text())


def test_the_page_lists_the_methods_and_begins_with_an_example_that_can_be_sent(page: Page, running: Running) -> None:
    expect(page).to_have_title(re.compile("^Cancel . shop$"))
    expect(page.get_by_role("navigation").get_by_role("heading", level=2).first).to_have_text("tester.shop.v1.Shop")
    choose(page, "Place")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#status")).to_have_text("200 OK")
    assert answer(page)["customerName"] == "string"
    assert answer(page)["patience"] == "1.500s"
    assert running.asked()["requests"][0]["items"][0]["size"] == 1


def test_the_list_is_filtered_and_a_link_leads_back_to_a_method(page: Page, running: Running) -> None:
    links = page.get_by_role("navigation").get_by_role("link")
    page.get_by_role("searchbox", name="Filter the methods").fill("foll")
    expect(links).to_have_text(["Follow stream"])
    page.get_by_role("searchbox").fill("nowhere")
    expect(page.get_by_text("No method has this in its name.")).to_be_visible()
    page.goto(running.url + "#/tester.shop.v1.Shop/Tell")
    expect(page.get_by_role("heading", level=1)).to_have_text("Tell")
    page.get_by_role("searchbox").fill("")
    choose(page, "Fail")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Tell")


def test_an_error_has_its_status_and_its_field(page: Page, running: Running) -> None:
    choose(page, "Place")
    send(page, {"items": [{"count": "many"}]})
    expect(page.locator("#status")).to_have_text("400 INVALID_ARGUMENT")
    assert answer(page)["details"][0]["fieldViolations"][0]["field"] == "items[0].count"
    choose(page, "Fail")
    send(page, {"failWith": "UNAVAILABLE"})
    expect(page.locator("#status")).to_have_text("503 UNAVAILABLE")
    assert answer(page)["message"] == "as asked"


def test_what_is_no_json_is_told_beside_it_and_not_sent(page: Page, running: Running) -> None:
    choose(page, "Place")
    page.get_by_role("textbox", name="Request").fill('{"id": ')
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert").first).to_contain_text("This is not JSON")
    expect(page.get_by_role("textbox", name="Request")).to_be_focused()
    expect(page.get_by_role("textbox", name="Request")).to_have_attribute("aria-invalid", "true")
    assert running.asked()["requests"] == []


def test_metadata_and_the_timeout_are_sent_and_headers_and_trailers_shown(page: Page, running: Running) -> None:
    choose(page, "Tell")
    page.get_by_role("textbox", name="Metadata").fill("authorization: Bearer x\nColour: blue")
    page.get_by_role("textbox", name="Timeout").fill("30")
    page.get_by_role("textbox", name="Request").press("Control+Enter")
    expect(page.locator("#status")).to_have_text("200 OK")
    asked = running.asked()
    assert asked["metadata"]["authorization"] == "Bearer x"
    assert asked["metadata"]["colour"] == "blue"
    assert asked["remaining"] is not None
    page.get_by_text("Headers and trailers").click()
    expect(page.get_by_role("row", name="grpc-metadata-early 1")).to_be_visible()
    expect(page.get_by_role("row", name="grpc-trailer-late 2, 3")).to_be_visible()
    expect(page.locator("#trace")).to_have_text(f"trace {asked['trace_id']}")


def test_a_stream_is_shown_as_it_comes_and_can_be_stopped(page: Page, running: Running) -> None:
    choose(page, "Follow")
    send(page, {"from": 1, "to": 4})
    expect(page.locator("#status")).to_have_text("200 OK")
    expect(page.get_by_role("listitem").filter(has_text="value")).to_have_count(3)
    expect(page.locator("#count")).to_have_text("3 messages")
    send(page, {"from": 5, "to": 7, "failWith": "wait"})
    expect(page.get_by_role("listitem").filter(has_text='"value": 5')).to_be_visible()
    expect(page.locator("#status")).to_have_text("Streaming…")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    send(page, {"from": 1, "to": 2, "failWith": "DATA_LOSS"})
    expect(page.locator("#status")).to_have_text("DATA_LOSS")


def test_a_method_that_takes_a_stream_says_what_calls_it_instead(page: Page) -> None:
    page.get_by_role("navigation").get_by_role("link", name="Chat").click()
    expect(page.get_by_text("This method takes a stream of messages")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_have_count(0)


def test_what_was_written_is_there_again_and_text_of_a_service_is_never_markup(page: Page, running: Running) -> None:
    evil = "<img src=x onerror=alert(1)></script><b>"
    choose(page, "Place")
    send(page, {"id": evil})
    expect(page.locator("#status")).to_have_text("200 OK")
    assert answer(page) == {"id": evil}
    assert page.locator("main img, main b").count() == 0
    choose(page, "Tell")
    choose(page, "Place")
    expect(page.get_by_role("textbox", name="Request")).to_have_value(json.dumps({"id": evil}))
    page.get_by_role("button", name="Example").click()
    expect(page.get_by_role("textbox", name="Request")).to_have_value(re.compile("customerName"))


def test_a_command_for_the_shell_is_copied(page: Page, running: Running) -> None:
    choose(page, "Place")
    page.get_by_role("textbox", name="Request").fill('{"id": "it\'s"}')
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith(f"curl '{running.url}tester.shop.v1.Shop/Place' -H 'content-type: application/json'")
    assert command.endswith("""-d '{"id": "it'\\''s"}'""")


def test_it_fits_a_narrow_screen_and_a_dark_one(page: Page) -> None:
    page.set_viewport_size({"width": 380, "height": 700})
    page.emulate_media(color_scheme="dark")
    choose(page, "Place")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 29)"


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    choose(page, "Place")
    names = page.evaluate(
        """() => [...document.querySelectorAll("input, textarea, button, a, section, nav")].map(one => {
            const label = one.labels && one.labels[0] ? one.labels[0].textContent : "";
            return [one.outerHTML.slice(0, 80), label || one.ariaLabel || one.textContent.trim()];
        })"""
    )
    assert [element for element, name in names if not name] == []


@pytest.fixture
def other(_run_folder: str) -> Iterator[Running]:
    """Another shop, which is another origin."""
    with tester_process.running(_run_folder) as running:
        yield running


def test_a_page_of_another_origin_cannot_call(browser: Browser, running: Running, other: Running) -> None:
    page = browser.new_page(bypass_csp=True)
    page.goto(other.url)
    outcome = page.evaluate(
        """async url => {
            const tried = [];
            for (const headers of [{"Content-Type": "application/json"}, {"Content-Type": "text/plain"}]) {
                try { tried.push((await fetch(url, {method: "POST", headers, body: "{}"})).status); }
                catch (error) { tried.push(error.name); }
            }
            try { await fetch(url, {method: "POST", mode: "no-cors", body: "{}"}); tried.push("sent"); }
            catch (error) { tried.push(error.name); }
            return tried;
        }""",
        running.url + "tester.shop.v1.Shop/Place",
    )
    page.close()
    assert outcome == ["TypeError", "TypeError", "TypeError"]
    assert running.asked()["requests"] == []
