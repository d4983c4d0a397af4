"""Each example, started as a user starts it: it answers, and on SIGTERM it ends well and leaves Consul."""

from __future__ import annotations

import json
import re
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import closing

import grpc
import pymysql
import pytest

from examples.demo import consul as asked
from examples.demo.process import Process
from examples.greeter import greeter_pb2, greeter_pb2_grpc
from examples.orders import orders_pb2, orders_pb2_grpc
from hrpc import background_context
from hrpc.context import METADATA_KEY
from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer

Start = Callable[..., Process]

OPTIONS = [("grpc.enable_http_proxy", 0)]
LIMIT = 30.0


def address_of(process: Process) -> str:
    """Waits until the service serves, and gives its address."""
    found = re.search(r"serves on port (\d+)", process.line(lambda line: "serves on port" in line))
    assert found
    return f"127.0.0.1:{found[1]}"


def metrics_of(process: Process) -> str:
    found = re.search(r"metrics on (\d+)", process.line(lambda line: "serves on port" in line))
    assert found
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"http://127.0.0.1:{found[1]}/metrics", timeout=LIMIT
    ) as answer:
        return answer.read().decode()


def in_consul(consul: ConsulServer, name: str, address: str) -> bool:
    entries = asked.get(f"http://{consul.address}/v1/health/service/{name}")
    return address in {f"{entry['Service']['Address']}:{entry['Service']['Port']}" for entry in entries}


def test_greeter_answers_without_any_server_and_ends_with_code_0(start: Start) -> None:
    greeter = start("-m", "examples.greeter.app")
    address = address_of(greeter)

    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        stub = greeter_pb2_grpc.GreeterStub(channel)
        reply = stub.SayHello(greeter_pb2.HelloRequest(name="Ada"), timeout=LIMIT)
        replies = list(stub.SayHellos(greeter_pb2.HellosRequest(names=["Ada", "Grace"]), timeout=LIMIT))

    assert (reply.message, reply.served_by) == ("Hello, Ada!", address)
    assert [one.message for one in replies] == ["Hello, Ada!", "Hello, Grace!"]
    assert greeter.end() == 0


def test_greeter_is_in_consul_while_it_runs(start: Start, consul: ConsulServer) -> None:
    greeter = start("-m", "examples.greeter.app", CONFIGS_ADDR=consul.address)
    address = address_of(greeter)
    assert in_consul(consul, "greeter", address)

    assert greeter.end() == 0
    assert not in_consul(consul, "greeter", address)


@pytest.fixture
def stored(own_consul: ConsulServer, mariadb: MySQLServer, redis_server: RedisServer) -> ConsulServer:
    """A Consul with the settings of both databases; the one of MySQL is this test's own."""
    database = f"orders_{uuid.uuid4().hex[:8]}"
    login = {"host": mariadb.host, "port": mariadb.port, "user": mariadb.username, "password": mariadb.password}
    with closing(pymysql.connect(**login)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {database}")
    asked.put(own_consul.address, "development/databases/mysql", mariadb.settings | {"dbname": database})
    asked.put(own_consul.address, "development/databases/redis", redis_server.settings)
    return own_consul


def test_orders_calls_the_greeter_and_uses_both_databases(start: Start, stored: ConsulServer) -> None:
    for _ in range(2):
        assert start("-m", "examples.orders.migrate", CONFIGS_ADDR=stored.address).wait(60) == 0
    greeter = start("-m", "examples.greeter.app", CONFIGS_ADDR=stored.address)
    greeter_address = address_of(greeter)
    orders = start("-m", "examples.orders.app", CONFIGS_ADDR=stored.address)
    address = address_of(orders)
    assert in_consul(stored, "orders", address)

    with grpc.insecure_channel(address, options=OPTIONS) as channel, background_context() as context:
        stub = orders_pb2_grpc.OrdersStub(channel)
        placed = stub.CreateOrder(
            orders_pb2.CreateOrderRequest(customer="Ada", cents=250),
            timeout=LIMIT,
            metadata=((METADATA_KEY, context.message("test")),),
        )
        order_request = orders_pb2.GetOrderRequest(id=placed.order.id)
        reads = [stub.GetOrder(order_request, timeout=LIMIT).reads for _ in range(2)]
        order = stub.GetOrder(order_request, timeout=LIMIT)
        with pytest.raises(grpc.RpcError) as missing:
            stub.GetOrder(orders_pb2.GetOrderRequest(id=placed.order.id + 1), timeout=LIMIT)
        asked.put(stored.address, "development/services/orders/limits", {"cents": 100})
        with pytest.raises(grpc.RpcError, match="250 cents are too many"):
            while True:  # a change counts as soon as Consul has told of it
                stub.CreateOrder(orders_pb2.CreateOrderRequest(customer="Eve", cents=250), timeout=LIMIT)
        measured = metrics_of(orders)

    assert (placed.greeting, placed.greeted_by) == ("Hello, Ada!", greeter_address)
    assert (order.customer, order.cents) == ("Ada", 250)
    assert reads[1] == reads[0] + 1
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    assert "\norders_placed_total " in measured
    for process in (orders, greeter):
        assert process.line(lambda line: context.trace_id in line)
    (log_line,) = [json.loads(line) for line in orders.lines if "of Ada is placed" in line]
    assert (log_line["trace_id"], log_line["cents"]) == (context.trace_id, 250)

    assert orders.end() == 0
    assert not in_consul(stored, "orders", address)


def test_client_shows_an_order(start: Start, stored: ConsulServer) -> None:
    greeter = start("-m", "examples.greeter.app", CONFIGS_ADDR=stored.address)
    address_of(greeter)
    orders = start("-m", "examples.orders.app", CONFIGS_ADDR=stored.address)

    client = start("-m", "examples.client", address_of(orders))
    assert client.wait(60) == 0
    assert client.lines[0].startswith("Hello, Alan! says 127.0.0.1:")
    assert re.fullmatch(r"order \d+: 1936 cents, read \d+ times", client.lines[1])
    assert client.lines[2] == "there is no order 0, says orders"


def test_client_tells_in_one_line_why_a_call_failed(start: Start, free_port: int) -> None:
    client = start("-m", "examples.client", f"127.0.0.1:{free_port}")
    assert client.wait(60) == 1
    (line,) = client.lines
    assert line.startswith("UNAVAILABLE: ")
    assert str(free_port) in line
