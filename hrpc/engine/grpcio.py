"""The engine of grpcio: ``grpc.aio``."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import grpc.aio
from loguru import logger

from hrpc import listener
from hrpc.abc import endpoint
from hrpc.engine.arguments import arguments
from hrpc.engine.own_socket import OwnSocket
from hrpc.engine.stopping import Stopping
from hrpc.errors import BindError
from hrpc.option import Settings
from hrpc.tls.server import ServerCertificates

_OPTION = "hrpc.with_listen_port"
_COMPRESSION = {None: None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}


class GrpcioEngine:
    """Serves on one port with ``grpc.aio``; made inside the event loop."""

    def __init__(self, settings: Settings, *, shared: bool = False) -> None:
        self._shared = shared
        self._server = grpc.aio.server(
            interceptors=list(settings.interceptors),
            options=arguments(settings, shared=shared),
            compression=_COMPRESSION[settings.compression],
        )
        self._stopping = Stopping(self._server)
        self._is_called_by_itself = settings.own_socket
        self._asks_itself = settings.own_socket or settings.concurrency.lag is not None
        self._own: OwnSocket | None = None

    @property
    def own_target(self) -> str | None:
        """Where the process reaches its own server, whatever certificates others need; None unless it has to."""
        return None if self._own is None else f"unix:{self._own.path}"

    async def bind(self, host: str, port: int, certificates: ServerCertificates | None) -> int:
        """Listens, without answering yet; gives the port. Raises `PortTaken` or `BindError`."""
        where = endpoint(host, port)
        # gRPC's own error for a port that is taken says neither which one nor why.
        if not self._shared:
            listener.unused("gRPC", host, port, _OPTION)
        if self._asks_itself:
            self._listen_for_itself(is_needed=self._is_called_by_itself and certificates is not None)
        try:
            if certificates is None:
                return self._server.add_insecure_port(where)
            return self._server.add_secure_port(where, certificates.credentials())
        except RuntimeError as error:
            raise BindError(f"gRPC: cannot listen on {where}; change it in {_OPTION}") from error

    async def start(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Begins to answer."""
        self._server.add_generic_rpc_handlers(handlers)
        await self._stopping.start()

    async def stop(self, grace: float) -> None:
        """Takes no new call, gives the running ones `grace` seconds, and closes the port."""
        await self._stopping.within(grace)
        if self._own is not None:
            self._own.remove()

    def _listen_for_itself(self, *, is_needed: bool) -> None:
        try:
            self._own = OwnSocket()
            self._server.add_insecure_port(f"unix:{self._own.path}")
        except (OSError, RuntimeError) as error:
            if is_needed:
                raise BindError(
                    "gRPC: there is no place for the Unix socket by which a plugin calls this server past its "
                    f"certificates, {error}; set TMPDIR to a folder that this user can write to"
                ) from error
            logger.warning(
                "the server cannot be called by its own process, as hrpc.with_concurrency_limit(lag=…) does to see how "
                "long calls wait before they are taken: there is no place for a Unix socket, {}; set TMPDIR to a "
                "folder that this user can write to",
                error,
            )
