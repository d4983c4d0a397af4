"""A service without a database: ``hrpc run examples.greeter.app:server --dev``."""

import os

import hrpc
from examples.greeter import greeter_pb2, greeter_pb2_grpc
from hrpc import log


class Greeter(greeter_pb2_grpc.GreeterServicer):
    async def SayHello(self, request, context):
        log.info("says hello to {}", request.name)
        return greeter_pb2.HelloReply(message=f"Hello, {request.name}!", served_by=server.address)

    async def SayHellos(self, request, context):
        for name in request.names:
            yield greeter_pb2.HelloReply(message=f"Hello, {name}!", served_by=server.address)


server = hrpc.new_server(
    hrpc.with_server_name("greeter"),
    hrpc.with_listen_port(int(os.environ.get("PORT", "8888"))),
    hrpc.with_health_check(int(os.environ.get("HEALTH_PORT", "6688"))),
    hrpc.with_metrics(int(os.environ.get("METRICS_PORT", "2112"))),
)
greeter_pb2_grpc.add_GreeterServicer_to_server(Greeter(), server)

if __name__ == "__main__":
    server.serve()
