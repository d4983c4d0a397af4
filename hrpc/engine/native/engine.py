"""The native engine: pygrpc-native, whose HTTP/2 runs in Rust, outside of Python's lock."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from loguru import logger

from hrpc import listener
from hrpc.abc import Handler, KnownMethods, endpoint
from hrpc.engine.arguments import milliseconds
from hrpc.engine.native.dispatch import Dispatch
from hrpc.engine.native.fallback import Fallback
from hrpc.errors import BindError, EngineMissing
from hrpc.option import Settings
from hrpc.option.native import PROVEN_ON

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

_OPTION = "hrpc.with_listen_port"

CANCEL_LIMIT = 1.0
"""Seconds that a stop waits for handlers to end that it has cancelled, and for answers to leave after its grace."""

LINGER = 0.05
"""Seconds between the last answer's leaving and the closing of the connections, which drops what is on its way."""


class NativeEngine:
    """Serves unary calls through pygrpc-native, all others with ``grpc.aio`` behind it; made inside the event loop."""

    def __init__(self, settings: Settings, *, shared: bool = False) -> None:
        self._shared = shared
        self._settings = settings
        self._fallback = Fallback(settings)
        self._front: NativeGrpcFront | None = None
        self._dispatch: Dispatch | None = None
        self._deadline = float("inf")
        self._closed = False

    @property
    def own_target(self) -> None:
        """None: every call is taken at once, so that the event loop's lag is all that there is to wait for."""

    async def bind(self, host: str, port: int, certificates: Any | None) -> int:
        """Listens, without answering yet; gives the port. Raises `EngineMissing`, `PortTaken` or `BindError`."""
        assert certificates is None, "refused when the server was made"
        front = _front()
        if not self._shared:
            listener.unused("gRPC", host, port, _OPTION)
        where = endpoint(host, port)
        try:
            self._front = front(where, [], call_details=True, **_arguments(self._settings, self._shared))
        except (OSError, ValueError) as error:
            raise BindError(f"gRPC: cannot listen on {where}: {error}; change it in {_OPTION}") from error
        self._front.set_fallback(self._fallback.bind())
        return self._front.bound_port

    async def start(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Begins to answer."""
        assert self._front is not None
        await self._fallback.start(handlers)
        known = {
            path: handler
            for found in handlers
            if isinstance(found, KnownMethods)
            for path, handler in found.methods.items()
        }
        native = {path: handler for path, handler in known.items() if _is_native(handler)}
        self._dispatch = Dispatch(self._front, native, self._settings.interceptors, self._settings.message_limits)
        self._dispatch.start()

    async def stop(self, grace: float) -> None:
        """Takes no new call, gives the running ones `grace` seconds, and closes the port.

        A second call with a shorter grace shortens the first. A handler that swallows its cancellation is left behind.
        """
        if self._closed:
            return
        self._deadline = min(self._deadline, time.monotonic() + grace)
        streams = asyncio.create_task(self._fallback.stop(grace))
        if self._dispatch is not None:
            await self._end(self._dispatch, grace)
        await streams
        if self._dispatch is not None:
            await self._leave(self._dispatch)
        await self._close()

    async def _end(self, dispatch: Dispatch, grace: float) -> None:
        dispatch.refuse()
        if running := dispatch.running:
            await asyncio.wait(running, timeout=grace)
        dispatch.cancel()
        if running := dispatch.running:
            await asyncio.wait(running, timeout=CANCEL_LIMIT)
        if running := dispatch.running:
            logger.warning("drain: {} calls did not end when they were cancelled, and are left behind", len(running))

    async def _leave(self, dispatch: Dispatch) -> None:
        """Waits until every answer has left: there is no event for it, nor does it tell of the fallback's."""
        while dispatch.unsent and time.monotonic() < self._deadline + CANCEL_LIMIT:  # noqa: ASYNC110
            await asyncio.sleep(LINGER / 10)
        await asyncio.sleep(LINGER)

    async def _close(self) -> None:
        if self._front is not None and not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(None, self._front.close)


def _front() -> type[NativeGrpcFront]:
    try:
        from pygrpc_native import NativeGrpcFront, __version__
    except ImportError as error:
        raise EngineMissing(
            f"the native engine cannot be used: {error}. Install the extra hrpc[native]; it exists for glibc Linux and "
            'for macOS only, so choose hrpc.with_engine("grpcio") elsewhere'
        ) from error
    logger.info("gRPC is served by pygrpc-native {}, which is experimental", __version__)
    if __version__ not in PROVEN_ON:
        logger.warning("hrpc is tested with pygrpc-native {}, not with {}", ", ".join(PROVEN_ON), __version__)
    return NativeGrpcFront


def _arguments(settings: Settings, shared: bool) -> dict[str, Any]:
    kept = settings.keepalive
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "io_threads": settings.engine.io_threads or (1 if shared else min(2, cores or 2)),
        "reuse_port": shared,
        "metrics": True,  # they tell when an answer has left
        "keepalive_time_ms": milliseconds(kept.time),
        "keepalive_timeout_ms": milliseconds(kept.timeout),
        "keepalive_permit_without_calls": kept.permit_without_stream,
        "max_concurrent_streams": settings.max_streams or 2**31 - 1,
    }


def _is_native(handler: Handler) -> bool:
    return handler.unary_unary is not None and inspect.iscoroutinefunction(handler.unary_unary)
