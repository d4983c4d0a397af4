"""Greetings over gRPC and over HTTP, and a schedule, in one life: ``hrpc run examples.web.app:server``."""

import asyncio
import os

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import hrpc
import hrpc_http
from examples.greeter import greeter_pb2, greeter_pb2_grpc
from hrpc import log

greeted: dict[str, int] = {}


def greet(name: str) -> str:
    greeted[name] = greeted.get(name, 0) + 1
    return f"Hello, {name}!"


class Greeter(greeter_pb2_grpc.GreeterServicer):
    async def SayHello(self, request, context):
        return greeter_pb2.HelloReply(message=greet(request.name), served_by=server.address)


async def hello(request):
    log.info("says hello over HTTP")  # with the trace of the request
    return JSONResponse({"message": greet(request.path_params["name"])})


class Report:
    """Says every ten minutes who was greeted, and once more at the end."""

    id = "report"

    async def setup(self):
        greeted.clear()

    async def run(self):
        try:
            while True:
                await asyncio.sleep(600)
                self.tell()
        finally:
            self.tell()

    def tell(self):
        log.info("greeted so far: {}", greeted)


http = hrpc_http.asgi(Starlette(routes=[Route("/hello/{name}", hello)]), port=int(os.environ.get("HTTP_PORT", "8080")))

server = hrpc.new_server(
    hrpc.with_server_name("web"),
    hrpc.with_listen_port(int(os.environ.get("PORT", "8888"))),
    hrpc.with_health_check(int(os.environ.get("HEALTH_PORT", "6688"))),
    hrpc.with_metrics(int(os.environ.get("METRICS_PORT", "2112"))),
    hrpc.with_services(http, Report()),
)
greeter_pb2_grpc.add_GreeterServicer_to_server(Greeter(), server)

if __name__ == "__main__":
    server.serve()
