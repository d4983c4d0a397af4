"""The same pieces as hrpc's, as they are usually written: one ``grpc.aio.ServerInterceptor`` for each."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio
from loguru import logger
from prometheus_client import Counter, Histogram, start_http_server

from benchmarks.servers import echo

DEFAULT_TIMEOUT = 5.0

trace_id: ContextVar[str] = ContextVar("trace_id")
requests_total = Counter("grpc_requests", "Requests", ["method", "code"])
request_seconds = Histogram("grpc_request_seconds", "Seconds of a request", ["method"])


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps the handler of each unary call in `around`."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler_call_details.method

        async def around(request: Any, context: Any) -> Any:
            return await self.around(method, handler.unary_unary, request, context)

        return grpc.unary_unary_rpc_method_handler(around, handler.request_deserializer, handler.response_serializer)

    async def around(self, method: str, handler: Any, request: Any, context: Any) -> Any:
        raise NotImplementedError


class Recovery(Interceptor):
    """An exception is logged, and the client is told nothing of it."""

    async def around(self, method: str, handler: Any, request: Any, context: Any) -> Any:
        try:
            return await handler(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer
            logger.exception("call of {} failed", method)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")


class Metrics(Interceptor):
    """Counts calls and their seconds."""

    async def around(self, method: str, handler: Any, request: Any, context: Any) -> Any:
        began = time.perf_counter()
        try:
            response = await handler(request, context)
        except BaseException:
            requests_total.labels(method=method, code="UNKNOWN").inc()
            raise
        else:
            requests_total.labels(method=method, code="OK").inc()
            return response
        finally:
            request_seconds.labels(method=method).observe(time.perf_counter() - began)


class Context(Interceptor):
    """Takes the trace id of the caller, or makes one."""

    async def around(self, method: str, handler: Any, request: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        message = json.loads(metadata.get("hrpc_md_message", "{}"))
        trace_id.set(message.get("trace_id") or secrets.token_hex(16))
        return await handler(request, context)


class Log(Interceptor):
    """One line for each call."""

    async def around(self, method: str, handler: Any, request: Any, context: Any) -> Any:
        began = time.perf_counter()
        code = "OK"
        try:
            return await handler(request, context)
        except BaseException:
            code = "UNKNOWN"
            raise
        finally:
            logger.bind(
                method=method,
                code=code,
                peer=context.peer(),
                trace_id=trace_id.get(),
                seconds=time.perf_counter() - began,
            ).info("call")


class Deadline(Interceptor):
    """No call takes longer than its client waits, or than the default."""

    async def around(self, method: str, handler: Any, request: Any, context: Any) -> Any:
        remaining = context.time_remaining()
        timeout = DEFAULT_TIMEOUT if remaining is None else min(remaining, DEFAULT_TIMEOUT)
        try:
            return await asyncio.wait_for(handler(request, context), timeout)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "deadline exceeded")


async def main(port: int) -> None:
    logger.remove()
    logger.add(sys.stdout, serialize=True)
    start_http_server(0, "127.0.0.1")
    server = grpc.aio.server(interceptors=[Recovery(), Metrics(), Context(), Log(), Deadline()])
    echo.register(server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(echo.parser().parse_args().port))
