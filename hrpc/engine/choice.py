"""The engine that was asked for."""

from __future__ import annotations

import os

import grpc
from loguru import logger

from hrpc.abc import Engine
from hrpc.option import Settings

FAST = "-event_engine_listener"
"""The experiment of gRPC to leave out: 1.08 to 1.14 of the rate, 1.2 and more beside uvloop (``make bench``)."""


def chosen(settings: Settings, *, shared: bool = False) -> Engine:
    """The engine of these settings, not bound yet. `shared`: other processes of the service listen on its port."""
    if settings.engine.kind == "native":
        from hrpc.engine.native import NativeEngine

        return NativeEngine(settings, shared=shared)
    from hrpc.engine.grpcio import GrpcioEngine

    logger.info("gRPC is served by grpcio {}", grpc.__version__)
    if settings.engine.fast and FAST not in os.environ.get("GRPC_EXPERIMENTS", "").split(","):
        logger.warning(
            "hrpc.with_engine(fast=True) has no effect: gRPC reads GRPC_EXPERIMENTS while it is imported; set "
            "GRPC_EXPERIMENTS={} in the environment in which the process is started",
            FAST,
        )
    return GrpcioEngine(settings, shared=shared)
