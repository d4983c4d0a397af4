"""Orders in MySQL, a counter in Redis, and a call to the greeter.

The settings of both databases are in Consul KV: ``development/databases/mysql`` and ``development/databases/redis``.
``development/services/orders/limits`` may hold the dearest order that is taken, ``{"cents": 5000}``, and is followed.
``python -m examples.orders.app`` makes its table first; for ``hrpc run``, ``python -m examples.orders.migrate`` does.
"""

import os
from dataclasses import dataclass

import hrpc
from examples.greeter import greeter_pb2, greeter_pb2_grpc
from examples.orders import orders_pb2, orders_pb2_grpc, schema
from examples.orders.errors import OrderNotFound
from hrpc import configs, errors, log, metrics, service
from hrpc.database import mysql, redis

metrics.register_counter("placed", "Orders that were placed.")


@dataclass(frozen=True)
class Limits:
    cents: int = 1_000_000


async def limits() -> Limits:
    await configs.sready("limits")
    try:
        return configs.sget("limits", Limits)
    except errors.KeyNotExist:
        return Limits()


class Orders(orders_pb2_grpc.OrdersServicer):
    async def CreateOrder(self, request, context):
        if request.cents > (await limits()).cents:
            raise errors.Validation(f"{request.cents} cents are too many")
        async with service.channel("greeter") as channel:  # the greeter has as long as is left of this call's time
            greeter = greeter_pb2_grpc.GreeterStub(channel)
            hello = await greeter.SayHello(greeter_pb2.HelloRequest(name=request.customer))
        placed = await mysql.get().execute(
            "INSERT INTO orders (customer, cents) VALUES (%s, %s)", request.customer, request.cents
        )
        order = orders_pb2.Order(id=placed.last_insert_id, customer=request.customer, cents=request.cents)
        metrics.incr("placed")
        log.with_fields(cents=order.cents).info("order {} of {} is placed", order.id, order.customer)
        return orders_pb2.CreateOrderReply(order=order, greeting=hello.message, greeted_by=hello.served_by)

    async def GetOrder(self, request, context):
        row = await mysql.get().query_one("SELECT id, customer, cents FROM orders WHERE id = %s", request.id)
        if row is None:
            raise OrderNotFound(f"there is no order {request.id}")
        reads = await redis.get().incr(f"orders:{request.id}:reads")
        return orders_pb2.Order(**row, reads=reads)


server = hrpc.new_server(
    hrpc.with_server_name("orders"),
    hrpc.with_listen_port(int(os.environ.get("PORT", "8888"))),
    hrpc.with_health_check(int(os.environ.get("HEALTH_PORT", "6688"))),
    hrpc.with_metrics(int(os.environ.get("METRICS_PORT", "2112"))),
    hrpc.with_consul(),
    hrpc.with_databases(mysql.new(), redis.new()),
    hrpc.with_upstreams("greeter"),
    hrpc.with_retry(idempotent=["greeter.v1.Greeter"]),  # also greets again when a greeter dies on the way
    hrpc.with_default_timeout(5),
)
orders_pb2_grpc.add_OrdersServicer_to_server(Orders(), server)

if __name__ == "__main__":
    server.run(schema.create)
    server.serve()
