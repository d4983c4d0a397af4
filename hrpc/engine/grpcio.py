"""The engine of grpcio: ``grpc.aio``."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio

from hrpc import listener
from hrpc.abc import endpoint
from hrpc.errors import BindError, CertificateError
from hrpc.option import Certificates

_OPTION = "hrpc.with_listen_port"


class GrpcioEngine:
    """Serves on one port with ``grpc.aio``; made inside the event loop."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> None:
        # SO_REUSEPORT is on by default, so that a second process would silently share the port (grpc#16920).
        options = [("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(interceptors=list(interceptors), options=options)

    async def bind(self, host: str, port: int, certificates: Certificates | None) -> int:
        """Listens, without answering yet; gives the port. Raises `PortTaken`, `BindError` or `CertificateError`."""
        credentials = None if certificates is None else _credentials(certificates)
        where = endpoint(host, port)
        # gRPC's own error for a port that is taken says neither which one nor why.
        listener.unused("gRPC", host, port, _OPTION)
        try:
            if credentials is None:
                return self._server.add_insecure_port(where)
            return self._server.add_secure_port(where, credentials)
        except RuntimeError as error:
            raise BindError(f"gRPC: cannot listen on {where}; change it in {_OPTION}") from error

    async def start(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Begins to answer."""
        self._server.add_generic_rpc_handlers(handlers)
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Takes no new call, gives the running ones `grace` seconds, and closes the port."""
        await self._server.stop(grace)


def _credentials(certificates: Certificates) -> grpc.ServerCredentials:
    option = "hrpc.with_server_certs"
    pems = []
    for path in (certificates.private, certificates.public):
        try:
            pems.append(Path(path).read_bytes())
        except OSError as error:
            raise CertificateError(f"{option}: cannot read {path!r}: {error.strerror}") from error
    try:
        # gRPC takes any bytes and then fails every handshake.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificates.public, certificates.private)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"the private key {certificates.private!r} does not fit the certificate {certificates.public!r}"
        else:
            problem = (
                f"{certificates.public!r} and {certificates.private!r} are not a PEM certificate and its private key"
            )
        raise CertificateError(f"{option}: {problem}") from error
    return grpc.ssl_server_credentials([(pems[0], pems[1])])
