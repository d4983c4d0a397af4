"""The engine that was asked for."""

from __future__ import annotations

import grpc
from loguru import logger

from hrpc.abc import Engine
from hrpc.option import Settings


def chosen(settings: Settings) -> Engine:
    """The engine of these settings, not bound yet."""
    if settings.engine.kind == "native":
        from hrpc.engine.native import NativeEngine

        return NativeEngine(settings.interceptors, settings.engine.io_threads)
    from hrpc.engine.grpcio import GrpcioEngine

    logger.info("gRPC is served by grpcio {}", grpc.__version__)
    return GrpcioEngine(settings)
