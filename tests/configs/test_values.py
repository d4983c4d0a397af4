"""Values of keys: made once for each change, kept when a new text is refused."""

from __future__ import annotations

import asyncio
import threading
import traceback
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrpc.configs.center import Configs
from hrpc.configs.key import Value
from hrpc.errors import ConsulUnreachable, InvalidConfig, KeyNotExist
from tests.configs.store import Store


@dataclass(frozen=True)
class Limits:
    per_order: int
    token: str = ""


def center(store: Store) -> Configs:
    return Configs(store, "test", "orders")


def test_a_value_is_made_once_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    take = Value._take

    def counted(self: Value[object], text: bytes | None) -> None:
        nonlocal made
        made += 1
        take(self, text)

    monkeypatch.setattr(Value, "_take", counted)
    store = Store(limits='{"per_order": 3}')
    configs = center(store)
    first = configs.get("limits", Limits)
    assert first == Limits(3)
    assert configs.get("limits", Limits) is first
    assert (made, store.fetched) == (1, ["test/limits"])
    store.put("limits", '{"per_order": 4}')
    assert made == 2, "when it is written"
    assert configs.get("limits", Limits) == Limits(4)
    store.put("limits", b'{"per_order": 4}')
    assert (made, configs.get("limits", dict), configs.get("/limits", str)) == (2, {"per_order": 4}, '{"per_order": 4}')


def test_a_bad_text_is_told_in_one_line_and_the_value_before_it_is_kept(logged: list[str]) -> None:
    store = Store(limits='{"per_order": 3}')
    configs = center(store)
    assert configs.get("limits", Limits) == Limits(3)
    store.put("limits", '{"per_order": "hunter2"}')
    assert logged == [
        "ERROR key 'test/limits': field 'per_order': expected a whole number, found a text; the value before it is kept"
    ]
    assert configs.get("limits", Limits) == Limits(3)
    assert configs.refused() == {"test/limits": 1}
    store.put("limits", '{"per_order": 5}')
    assert configs.get("limits", Limits) == Limits(5)
    assert (len(logged), configs.refused()) == (1, {"test/limits": 1})


def test_a_first_text_that_is_bad_is_an_error_until_there_is_a_good_one() -> None:
    store = Store(limits="{}")
    configs = center(store)
    for _ in range(2):
        with pytest.raises(InvalidConfig, match="key 'test/limits': field 'per_order': expected a whole number, found"):
            configs.get("limits", Limits)
    assert configs.refused() == {"test/limits": 1}
    assert configs.get("limits", dict) == {}, "for another type it is good"
    store.put("limits", '{"per_order": 5}')
    assert configs.get("limits", Limits) == Limits(5)


def test_an_error_that_is_raised_again_and_again_does_not_grow() -> None:
    def frames(error: BaseException) -> int:
        return len(traceback.extract_tb(error.__traceback__))

    store = Store(limits="{}")
    configs = center(store)
    lengths = []
    for _ in range(3):
        with pytest.raises(InvalidConfig) as caught:
            configs.get("limits", Limits)
        lengths.append(frames(caught.value))
    assert lengths[0] == lengths[2]


def test_a_deleted_key_does_not_exist_and_what_comes_after_it_has_no_value_before_it() -> None:
    store = Store(limit="3")
    configs = center(store)
    store.put("limit", "4")
    assert configs.get("limit", int) == 4
    store.put("limit", None)
    with pytest.raises(KeyNotExist):
        configs.get("limit", int)
    store.put("limit", "four")
    with pytest.raises(InvalidConfig):
        configs.get("limit", int)
    assert configs.get("limit", str) == "four"


def test_a_deletion_that_the_watch_begins_with_is_seen() -> None:
    store = Store(limit="3")
    configs = center(store)
    assert configs.get("limit", int) == 3
    store.put("limit", None)
    with pytest.raises(KeyNotExist):
        configs.get("limit", int)


def test_a_key_of_the_service_is_another_than_that_of_the_environment() -> None:
    configs = center(Store(**{"limit": "3", "services/orders/limit": "4"}))
    assert (configs.get("limit", int), configs.sget("limit", int)) == (3, 4)


def test_while_consul_is_away_a_value_is_its_error_and_comes_with_the_first_answer() -> None:
    store = Store(limit="3")
    store.away = ConsulUnreachable("no answer")
    configs = center(store)
    for _ in range(2):
        with pytest.raises(ConsulUnreachable):
            configs.get("limit", int)
    assert store.fetched == ["test/limit"]
    store.put("limit", "3")
    assert configs.get("limit", int) == 3


async def test_keys_that_were_made_ready_are_not_asked_for_again() -> None:
    store = Store(a="1", **{"services/orders/b": "2"})
    configs = center(store)
    await configs.ready("a", "missing", "a")
    await configs.ready("b", own=True)
    asked = list(store.fetched)
    assert (configs.get("a", int), configs.sget("b", int)) == (1, 2)
    with pytest.raises(KeyNotExist):
        configs.get("missing", str)
    assert store.fetched == asked


def test_what_a_class_raises_of_its_own_is_no_error_of_the_watch(logged: list[str]) -> None:
    store = Store(limit="1")
    configs = center(store)
    with pytest.raises(TypeError, match="does not read"):
        configs.get("limit", complex)
    store.put("limit", "hunter2")
    assert "hunter2" not in "".join(logged)


texts = st.none() | st.sampled_from(["1", "2", "03", "x", "1.5", " 2 ", "null", "", '{"per_order": 7}'])


@given(st.lists(texts, max_size=8), st.booleans())
def test_after_any_changes_it_is_the_newest_good_one_since_the_last_deletion(
    changes: list[str | None], begins: bool
) -> None:
    store = Store(**({"key": "2"} if begins else {}))
    configs = center(store)
    expected: int | str | None = 2 if begins else None
    for text in ["2" if begins else None, *changes]:
        store.put("key", text)
        if text is None:
            expected = None
        elif text in ("1", "2", " 2 "):
            expected = int(text)
        elif expected is None:
            expected = "bad"
        try:
            found: int | str | None = configs.get("key", int)
        except KeyNotExist:
            found = None
        except InvalidConfig:
            found = "bad"
        assert found == expected


async def test_the_event_loop_goes_on_while_a_thread_asks_for_another_key_or_the_same() -> None:
    class Silent(Store):
        asking, answering = threading.Event(), threading.Event()

        async def read(self, key: str) -> bytes | None:
            return b"b"

        def fetch_key(self, key: str) -> bytes | None:
            self.asking.set()
            assert self.answering.wait(10), "the event loop was blocked"
            return b"a"

    store = Silent()
    configs = center(store)
    thread = asyncio.create_task(asyncio.to_thread(configs.get, "a", str))
    await asyncio.to_thread(store.asking.wait, 10)
    await configs.ready("a", "b")
    assert (configs.get("a", str), configs.get("b", str)) == ("b", "b")
    store.answering.set()
    assert await thread == "b", "what came first counts"
