"""Subscriptions, retries and messages by themselves."""

from __future__ import annotations

import pytest

import hrpc
from hrpc.database import mysql
from hrpc.errors import InvalidConfig, OptionError
from hrpc.queues import Message, Retry, Subscription
from tests.queues.memory import Memory


def test_wrong_options_are_refused_where_they_are_made() -> None:
    def on_order(message: Message) -> None: ...

    for wrong, what in (
        (lambda: hrpc.with_message_queues(object()), "takes kafka.new"),
        (lambda: hrpc.with_message_queues(mysql.new()), "'mysql' is a database: pass it to hrpc.with_databases"),
        (lambda: hrpc.with_databases(Memory()), "'memory' is a message queue: pass it to hrpc.with_message_queues"),
        (lambda: Subscription((), on_order), "needs at least one topic"),
        (lambda: Subscription(("a",), "no function"), "cannot be called"),
        (lambda: Subscription(("a",), on_order, concurrency=0), "concurrency=0"),
        (lambda: Subscription(("a",), on_order, timeout=0), "above 0"),
        (lambda: Subscription(("a",), on_order, dead_letter="a"), "its own dead letters"),
        (lambda: Subscription(("a",), on_order, retry=3), "takes an hrpc.queues.Retry"),
        (lambda: Retry(attempts=0), "attempts=0"),
        (lambda: Retry(factor=0.5), "factor=0.5"),
    ):
        with pytest.raises(OptionError, match=what):
            wrong()
    with pytest.raises(OptionError, match="'memory' is the name of another one"):
        hrpc.new_server(hrpc.with_server_name("a"), hrpc.with_message_queues(Memory(), Memory()))
    with pytest.raises(OptionError, match="read the KV key development/messagequeues/memory"):
        hrpc.new_server(hrpc.with_server_name("a"), hrpc.with_message_queues(Memory(needs_settings=True)))


def test_delays_grow_up_to_the_longest_and_never_fail() -> None:
    retry = Retry(base=1.0, factor=2.0, max_delay=8.0)
    for attempt, longest in ((1, 1), (2, 2), (4, 8), (5, 8), (10_000, 8)):
        delays = [retry.delay(attempt) for _ in range(200)]
        assert min(delays) >= 0
        assert longest * 0.8 < max(delays) <= longest


def test_the_json_of_a_message_is_read_as_strictly_as_a_config_and_never_shown() -> None:
    message = Message("orders", b'{"total": "a secret"}', id="0/17")
    assert message.json() == {"total": "a secret"}
    with pytest.raises(InvalidConfig, match="message orders 0/17: field 'total'") as caught:
        message.json(dict[str, int])
    assert "a secret" not in str(caught.value)
    with pytest.raises(InvalidConfig, match="message orders 0/17: expected JSON"):
        Message("orders", b"{", id="0/17").json()
    assert "a secret" not in repr(message)
