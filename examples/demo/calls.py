"""The calls that the demo makes, and what it shows of them."""

from __future__ import annotations

import json
from collections import Counter

import grpc

from examples.demo import screen
from examples.demo.services import Instance
from examples.greeter import greeter_pb2, greeter_pb2_grpc
from examples.orders import orders_pb2, orders_pb2_grpc
from hrpc import background_context
from hrpc.context import METADATA_KEY

_LIMIT = 5.0
_OPTIONS = [("grpc.enable_http_proxy", 0)]
_CUSTOMERS = ("Ada", "Grace", "Edsger", "Barbara", "Donald", "Frances")


def place_orders(orders: Instance, greeters: list[Instance]) -> None:
    """Places orders, reads one back, and follows a last one through the logs of both services."""
    with grpc.insecure_channel(orders.grpc, options=_OPTIONS) as channel:
        stub = orders_pb2_grpc.OrdersStub(channel)
        greeted: Counter[str] = Counter()
        for cents, customer in enumerate(_CUSTOMERS, start=100):
            request = orders_pb2.CreateOrderRequest(customer=customer, cents=cents)
            placed = stub.CreateOrder(request, timeout=_LIMIT)
            greeted[placed.greeted_by] += 1
        screen.heading(f"{len(_CUSTOMERS)} orders placed; each call went on to a greeter that Consul lists")
        for greeter in greeters:
            screen.row(greeter.process.name, greeter.grpc, f"{greeted[greeter.grpc]} calls")
        read = stub.GetOrder(orders_pb2.GetOrderRequest(id=placed.order.id), timeout=_LIMIT)
        screen.note(
            f"order {read.id} read back: {read.customer}, {read.cents} from MySQL; read {read.reads} from Redis"
        )

        with background_context(timeout=_LIMIT) as context:
            metadata = ((METADATA_KEY, context.message("demo")),)
            request = orders_pb2.CreateOrderRequest(customer="Margaret", cents=1969)
            placed = stub.CreateOrder(request, timeout=_LIMIT, metadata=metadata)
    by = next(greeter for greeter in greeters if greeter.grpc == placed.greeted_by)
    _show_trace(context.trace_id, [orders, by])


def say_hello(greeters: list[Instance]) -> None:
    """Calls each greeter, within one trace."""
    with background_context(timeout=_LIMIT) as context:
        for greeter in greeters:
            with grpc.insecure_channel(greeter.grpc, options=_OPTIONS) as channel:
                request = greeter_pb2.HelloRequest(name="Ada")
                metadata = ((METADATA_KEY, context.message("demo")),)
                greeter_pb2_grpc.GreeterStub(channel).SayHello(request, timeout=_LIMIT, metadata=metadata)
    _show_trace(context.trace_id, greeters)


def _show_trace(trace_id: str, instances: list[Instance]) -> None:
    screen.heading(f"One trace in all their logs: {trace_id}")
    for instance in instances:
        screen.row(instance.process.name, _message(instance.process.line(lambda line: trace_id in line)))


def _message(line: str) -> str:
    return str(json.loads(line)["msg"])
