"""A collector: takes spans over OTLP, as gRPC, and keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(services.TraceServiceServicer):
    """`refuses` is the status that it answers with instead of taking the spans; while it is not `open`, it waits."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.refuses: grpc.StatusCode | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []

    async def Export(
        self, request: messages.ExportTraceServiceRequest, context: grpc.aio.ServicerContext
    ) -> messages.ExportTraceServiceResponse:
        self.asked.set()
        await self.open.wait()
        if self.refuses is not None:
            await context.abort(self.refuses, "no")
        for of_resource in request.resource_spans:
            self.resources.append({pair.key: pair.value.string_value for pair in of_resource.resource.attributes})
            for of_scope in of_resource.scope_spans:
                self.spans.extend(of_scope.spans)
        return messages.ExportTraceServiceResponse()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on a port of 127.0.0.1."""
    collector = Collector()
    server = grpc.aio.server()
    services.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)
