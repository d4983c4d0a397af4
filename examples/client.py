"""Places an order and reads it back: ``python -m examples.client [host:port]``."""

import sys

import grpc

from examples.orders import orders_pb2, orders_pb2_grpc


def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8888"
    with grpc.insecure_channel(address) as channel:
        orders = orders_pb2_grpc.OrdersStub(channel)
        placed = orders.CreateOrder(orders_pb2.CreateOrderRequest(customer="Alan", cents=1936), timeout=5)
        order = orders.GetOrder(orders_pb2.GetOrderRequest(id=placed.order.id), timeout=5)
        print(f"{placed.greeting} says {placed.greeted_by}")
        print(f"order {order.id}: {order.cents} cents, read {order.reads} times")


if __name__ == "__main__":
    main()
