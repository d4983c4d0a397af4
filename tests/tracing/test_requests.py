"""MySQL, Redis and Consul in a trace, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from pymysql.err import MySQLError
from redis.exceptions import ResponseError

import hrpc
from hrpc import Consul, configs, service
from hrpc.database import mysql, redis
from hrpc.database.mysql.statements import described
from hrpc.database.redis.commands import Traced, named
from hrpc.health.checker import Kind
from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer
from tests import agent
from tests.eventually import eventually
from tests.tracing.spans import Spans

tracer = trace.get_tracer("tests")


@asynccontextmanager
async def working(*options: hrpc.Option) -> AsyncIterator[None]:
    """Inside of a span named ``work`` of a server with these options."""
    common = (hrpc.with_server_name("traced"), hrpc.with_listen_port(0, host="127.0.0.1"))
    async with hrpc.new_server(*common, *options, hrpc.with_graceful_stop(drain_delay=0)):
        with tracer.start_as_current_span("work"):
            yield


def of_mysql(server: MySQLServer) -> Any:
    return mysql.new(**server.settings)


def of_redis(server: RedisServer) -> Any:
    return redis.new(address=server.host, port=server.port)


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert span.context is not None
    assert parent.context is not None
    return (span.parent and span.parent.span_id, span.context.trace_id) == (
        parent.context.span_id,
        parent.context.trace_id,
    )


async def test_a_statement_is_a_span_of_what_runs_it_and_tells_no_value(mariadb: MySQLServer, spans: Spans) -> None:
    async with working(spans.option(), hrpc.with_databases(of_mysql(mariadb))):
        sql = "SELECT %s AS word, 'literal secret' AS other FROM (SELECT 4711 AS n) AS t"
        assert await mysql.get().query_one(sql, "bound secret") == {"word": "bound secret", "other": "literal secret"}
    span = spans.one("SELECT")
    assert is_child(span, spans.one("work"))
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "db.system.name": attributes(spans.one("SELECT"))["db.system.name"],  # mysql or mariadb, as the server is
        "db.namespace": mariadb.database,
        "db.operation.name": "SELECT",
        "db.query.summary": "SELECT",
        "db.query.text": "SELECT %s AS word, ? AS other FROM (SELECT ? AS n) AS t",
        "server.address": mariadb.host,
        "server.port": mariadb.port,
    }
    assert "secret" not in "".join(found.to_json() for found in spans.ended)


async def test_a_transaction_is_a_span_for_each_of_its_statements(mariadb: MySQLServer, spans: Spans) -> None:
    async with working(spans.option(), hrpc.with_databases(of_mysql(mariadb))):
        async with mysql.get().transaction() as transaction:
            await transaction.query("SELECT TABLE_NAME FROM information_schema.TABLES LIMIT 1")
    names = [span.name for span in spans.ended if span.kind is SpanKind.CLIENT]
    assert names == ["BEGIN", "SELECT information_schema.TABLES", "COMMIT"]


async def test_a_statement_that_fails_is_an_error_with_its_number_and_without_its_words(
    mariadb: MySQLServer, spans: Spans
) -> None:
    async with working(spans.option(), hrpc.with_databases(of_mysql(mariadb))):
        with pytest.raises(MySQLError):
            await mysql.get().query("SELECT secret_column FROM no_such_table")
    span = spans.one("SELECT no_such_table")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert attributes(span)["db.response.status_code"] == "1146"
    assert attributes(span)["error.type"] == "pymysql.err.ProgrammingError"
    assert span.events == ()


async def sleeps() -> bool:
    found = await mysql.get().query(
        "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(20.25)%'"
    )
    return bool(found)


async def test_a_statement_that_is_cancelled_ends_its_span(mariadb: MySQLServer, spans: Spans) -> None:
    async with working(spans.option(), hrpc.with_databases(of_mysql(mariadb))):
        sleeping = asyncio.create_task(mysql.get().query("SELECT SLEEP(20.25)"))
        await eventually(sleeps)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
    assert attributes(spans.one("SELECT"))["error.type"] == "asyncio.exceptions.CancelledError"


async def test_without_a_tracer_nothing_is_begun(mariadb: MySQLServer, redis_server: RedisServer) -> None:
    databases = (of_mysql(mariadb), of_redis(redis_server))
    async with working(hrpc.with_databases(*databases)):
        connection = await mysql.get()._pool.borrow()
        assert connection.statements is None
        mysql.get()._pool.give_back(connection)
        assert not isinstance(redis.get(), Traced)


@pytest.mark.parametrize(
    ("sql", "name", "text"),
    [
        ("select * from `orders` where id = 7", "SELECT orders", "select * from `orders` where id = ?"),
        (
            "INSERT INTO shop.sold (a) VALUES ('it''s', \"x\\\"y\", 1e5, 0xff, 0b101)",
            "INSERT shop.sold",
            "INSERT INTO shop.sold (a) VALUES (?, ?, ?, ?, ?)",
        ),
        ("UPDATE t2 SET a='\\'' WHERE b=-1.5", "UPDATE t2", "UPDATE t2 SET a=? WHERE b=-?"),
        ("/* secret */ DELETE FROM t -- secret\nWHERE a = 'b", "DELETE t", "DELETE FROM t  \nWHERE a = ?"),
        ("(SELECT 1) UNION (SELECT 2)", "SELECT", "(SELECT ?) UNION (SELECT ?)"),
        ("CALL pay(%s, 3)", "CALL", "CALL pay(%s, ?)"),
        ("", "statement", ""),
        ("'secret", "statement", "?"),
    ],
)
def test_the_text_of_a_statement_has_no_value_in_it(sql: str, name: str, text: str) -> None:
    found, told = described(sql)
    assert found == name
    assert told["db.query.text"] == text


async def test_a_command_is_a_span_that_tells_its_name_only(redis_server: RedisServer, spans: Spans) -> None:
    async with working(spans.option(), hrpc.with_databases(of_redis(redis_server))):
        await redis.get().set("secret-key", "secret-value", ex=5)
        await redis.blocking().get("secret-key")
        with pytest.raises(ResponseError):
            await redis.get().lpush("secret-key", "secret-value")
    span = spans.one("SET")
    assert is_child(span, spans.one("work"))
    assert span.kind is SpanKind.CLIENT
    assert attributes(span) == {
        "db.system.name": "redis",
        "db.namespace": "0",
        "db.operation.name": "SET",
        "server.address": redis_server.host,
        "server.port": redis_server.port,
    }
    assert is_child(spans.one("GET"), spans.one("work"))
    assert spans.one("LPUSH").status.status_code is StatusCode.ERROR
    assert "secret" not in "".join(found.to_json() for found in spans.ended)


async def test_a_pipeline_and_a_transaction_are_one_span_with_their_size(
    redis_server: RedisServer, spans: Spans
) -> None:
    async with working(spans.option(), hrpc.with_databases(of_redis(redis_server))):
        async with redis.get().pipeline(transaction=False) as pipe:
            assert await pipe.set("traced-a", 1).get("traced-a").execute() == [True, b"1"]
        async with redis.get().pipeline() as pipe:
            await pipe.watch("traced-a")
            pipe.multi()
            await pipe.delete("traced-a").execute()
    assert attributes(spans.one("PIPELINE"))["db.operation.batch.size"] == 2
    assert "db.operation.batch.size" not in attributes(spans.one("MULTI"))
    assert [span.name for span in spans.ended if span.kind is SpanKind.CLIENT] == ["PIPELINE", "WATCH", "MULTI"]


async def test_health_checks_of_databases_are_no_spans(
    mariadb: MySQLServer, redis_server: RedisServer, spans: Spans
) -> None:
    databases = (of_mysql(mariadb), of_redis(redis_server))
    common = (hrpc.with_server_name("traced"), hrpc.with_listen_port(0, host="127.0.0.1"), spans.option())
    async with hrpc.new_server(*common, hrpc.with_databases(*databases)) as server:
        assert server._running is not None
        assert (await server._running.parts.health.ask(Kind.READINESS)).well
    assert spans.ended == []


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("get", "GET"),
        (b"GET", "GET"),
        ("CONFIG GET", "CONFIG GET"),
        ("SET key secret", "SET"),
        ("CLIENT secret\n", "CLIENT SECRET"),
        ("JSON.SET", "JSON.SET"),
        ("", "COMMAND"),
        ("se\x00cret", "COMMAND"),
        (b"\xff", "COMMAND"),
    ],
)
def test_the_name_of_a_command_has_no_argument_in_it(command: object, name: str) -> None:
    assert named(command) == name


async def test_what_a_call_asks_of_consul_and_what_changes_it_are_spans_and_watches_are_not(
    consul: ConsulServer, spans: Spans
) -> None:
    await agent.store(consul.address, "traced-test/before", "1")
    async with working(spans.option(), hrpc.with_consul(Consul(address=consul.address, prefix="traced-test"))):
        assert configs.get("before") == "1"  # blocks, since the key was not asked for before
        await configs.set("after", "2")
        await service.ready("traced")
    work = spans.one("work")
    read, write = spans.one("GET /v1/kv/{key}"), spans.one("PUT /v1/kv/{key}")
    assert is_child(read, work)
    assert is_child(write, work)
    host, _, port = consul.address.partition(":")
    assert attributes(write) == {
        "server.address": host,
        "server.port": int(port),
        "http.request.method": "PUT",
        "http.response.status_code": 200,
        "url.full": f"http://{consul.address}/v1/kv/traced-test/after",
        "url.template": "/v1/kv/{key}",
    }
    registration = [span.name for span in spans.ended if span.parent is None and span.kind is SpanKind.CLIENT]
    assert registration == ["PUT /v1/agent/service/register", "PUT /v1/agent/service/deregister/{id}"]
    assert len([span for span in spans.ended if span.kind is SpanKind.CLIENT]) == 4


async def test_a_request_that_consul_refuses_is_an_error(own_consul: ConsulServer, spans: Spans) -> None:
    async with working(spans.option(), hrpc.with_consul(Consul(address=own_consul.address))):
        with pytest.raises(hrpc.errors.ConsulRefused):
            await configs.set("large", "x" * 600_000)
    span = spans.one("PUT /v1/kv/{key}")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["http.response.status_code"] == 413
    assert attributes(span)["error.type"] == "hrpc.errors.ConsulRefused"
