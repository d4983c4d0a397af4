"""Places an order and reads it back: ``python -m examples.client [host:port]``."""

import asyncio
import sys

import grpc.aio

import hrpc
from examples.orders import orders_pb2, orders_pb2_grpc
from examples.orders.errors import OrderNotFound


async def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8888"
    async with grpc.aio.insecure_channel(address, interceptors=hrpc.client_interceptors()) as channel:
        orders = orders_pb2_grpc.OrdersStub(channel)
        placed = await orders.CreateOrder(orders_pb2.CreateOrderRequest(customer="Alan", cents=1936), timeout=5)
        order = await orders.GetOrder(orders_pb2.GetOrderRequest(id=placed.order.id), timeout=5)
        print(f"{placed.greeting} says {placed.greeted_by}")
        print(f"order {order.id}: {order.cents} cents, read {order.reads} times")
        try:
            await orders.GetOrder(orders_pb2.GetOrderRequest(id=0), timeout=5)
        except OrderNotFound as error:
            print(f"{error.message}, says {error.trace[0].app_name}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except grpc.aio.AioRpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
