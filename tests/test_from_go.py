"""docs/from-go.md: every name that it gives for one of Go is there, and can be called where it says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import hrpc
from hrpc import configs, life, log, metrics, service, uniqueid
from hrpc.abc import StoredSettings
from hrpc.database import mysql, redis

PAGE = (Path(__file__).parents[1] / "docs/from-go.md").read_text()
CALLS = PAGE.partition("## The calls")[2].partition("\n## ")[0]
ROWS = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.+\|$", CALLS, re.MULTILINE)]
OURS = [row[1] for row in ROWS if row[1] not in ("Python", "---") and not set(row[1]) <= {"-"}]

SERVER = hrpc.new_server(hrpc.with_server_name("from-go"))
MODULES: dict[str, Any] = {
    "hrpc": hrpc,
    "configs": configs,
    "life": life,
    "log": log,
    "metrics": metrics,
    "mysql": mysql,
    "redis": redis,
    "service": service,
    "uniqueid": uniqueid,
    "server": SERVER,
}
GIVEN = {
    "hrpc_kafka.get()": "hrpc_kafka.producing.Kafka",
    "hrpc_mongodb.get()": "hrpc_mongodb.database.Database",
    "mysql.get()": "hrpc.database.mysql.MySQL",
}
"""The classes of what is given only where a server runs."""

OPTIONS = [
    "consul",
    "environment",
    "server_name",
    "listen_port",
    "health_check",
    "databases",
    "message_queues",
    "plugins",
    "stack_skip",
    "server_certs",
    "exit_listeners",
    "restart_listeners",
    "metrics",
]


def names(code: str) -> Iterator[str]:
    """``a.b(c.d(), e=f).g()`` → ``a.b().g()`` and ``c.d()``: the paths in a piece of code, without their arguments."""
    code = re.sub(r'"[^"]*"', "", code)
    inner = re.compile(r"\(([^()]*)\)")
    while found := inner.search(code):
        if found[1]:
            yield from names(found[1])
        code = f"{code[: found.start()]}\0{code[found.end() :]}"
    for part in re.split(r",\s*|=", code.replace("\0", "()")):
        if "." in part.strip("…. ") or part.strip() == "server":
            yield part.strip()


def found(path: str) -> Any:
    """What a path leads to. Raises AttributeError, KeyError or ModuleNotFoundError when there is no such thing."""
    for given, kind in GIVEN.items():
        if path.startswith(f"{given}."):
            module, _, name = kind.rpartition(".")
            return _below(getattr(import_module(module), name), path.removeprefix(f"{given}."))
    first, _, rest = path.partition(".")
    return _below(MODULES[first] if first in MODULES else import_module(first), rest)


def _below(value: Any, path: str) -> Any:
    for step in path.split("."):
        if not step:
            break
        if step == "Context" and value is hrpc:
            value = hrpc.context.new()  # the ID is set when one is made
            continue
        value = getattr(value, step.removesuffix("()"))
        if step.endswith("()"):
            assert callable(value), path
    return value


def test_the_tables_were_read() -> None:
    assert len(OURS) > 60
    assert list(names("a.b(c.d(), e=f, g=h.i).j()")) == ["c.d()", "h.i", "a.b().j()"]


@pytest.mark.parametrize("cell", OURS)
def test_every_name_on_our_side_is_there(cell: str) -> None:
    codes = re.findall(r"`([^`]+)`", cell)
    assert codes, cell
    for code in codes:
        paths = list(names(code))
        assert paths, code
        for path in paths:
            assert found(path) is not None, path


@pytest.mark.parametrize("path", ["hrpc.with_nothing()", "hrpc_nothing.new()", "mysql.get().fetch()", "server.halt()"])
def test_a_name_that_is_not_there_is_seen(path: str) -> None:
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        found(path)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_the_go_framework_has_a_row(option: str) -> None:
    assert f"hrpc.with_{option}(" in CALLS


def test_the_message_on_the_page_is_read() -> None:
    from hrpc.context import METADATA_KEY, from_metadata

    (message,) = re.findall(r'^\{"server_name".+\}$', PAGE, re.MULTILINE)
    context = from_metadata([(METADATA_KEY, message)])
    assert (context.server_name, context.trace_id, context.namespace) == ("orders", "abcd", "Dev")
    assert (context.client_ip, context.user_agent) == ("10.1.2.3", "curl")
    assert context.deadline is not None


def test_the_keys_on_the_page_are_settings_of_ours() -> None:
    import hrpc_mongodb

    kinds = {"mysql": mysql.MySQLOptions, "redis": redis.RedisOptions, "mongodb": hrpc_mongodb.MongoDBOptions}
    for name, options in kinds.items():
        (row,) = re.findall(rf"^\| `\{{environment\}}/databases/{name}` \| (.+?) \|", PAGE, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) <= set(options.__annotations__)


def test_a_key_for_kafka_of_the_go_framework_is_read() -> None:
    import hrpc_kafka

    stored = {
        "brokers": ["a:9092", "b:9092"],
        "sasl": {"username": "orders", "password": "s3cret"},
        "acks": 1,
        "auto_commit": False,
        "offset_initial": -2,
    }
    (row,) = re.findall(r"^\| `\{environment\}/messagequeues/kafka` \| (.+?) \|", PAGE, re.MULTILINE)
    assert {name.partition(".")[0] for name in re.findall(r"`([\w.]+)`", row)} == set(stored)
    settings = hrpc_kafka.new().read(StoredSettings("production/messagequeues/kafka", stored))
    made = settings.connection("billing")
    assert made["bootstrap_servers"] == stored["brokers"]
    assert (made["security_protocol"], made["sasl_mechanism"]) == ("SASL_PLAINTEXT", "PLAIN")
    assert (made["sasl_plain_username"], made["sasl_plain_password"]) == ("orders", "s3cret")
    assert "s3cret" not in repr(settings)
