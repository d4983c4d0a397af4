"""What the native engine does not serve itself: grpcio, behind it on a Unix socket."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

import grpc
import grpc.aio

from hrpc.engine import own_socket
from hrpc.engine.stopping import Stopping
from hrpc.errors import BindError
from hrpc.option import Settings


class Fallback:
    """A server of grpcio that only pygrpc-native, in this process, can reach."""

    def __init__(self, settings: Settings) -> None:
        limits = settings.message_limits
        # What is about connections is for those of the clients, which end in front of it.
        options = [
            ("grpc.max_receive_message_length", limits.receive),
            ("grpc.max_send_message_length", limits.send),
        ]
        self._server = grpc.aio.server(interceptors=list(settings.interceptors), options=options)
        self._stopping = Stopping(self._server)
        self._folder: str | None = None

    def bind(self) -> str:
        """Makes the socket in a folder of its own, which only this user may enter; gives its path.

        Raises `BindError`.
        """
        try:
            # The folder for temporary files is only known to be writable once something was written there.
            self._folder = own_socket.folder()
            path = os.path.join(self._folder, "grpc.sock")
            if len(os.fsencode(path)) > own_socket.LONGEST:
                raise OSError(f"{path} is too long for the path of a socket")
            self._server.add_insecure_port(f"unix:{path}")
        except (OSError, RuntimeError) as error:
            raise BindError(
                "the native engine needs a folder for a Unix socket, and has none: "
                f"{error}; set TMPDIR to a folder that this user can write to, or choose "
                'hrpc.with_engine("grpcio")'
            ) from error
        return path

    async def start(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Begins to answer."""
        self._server.add_generic_rpc_handlers(handlers)
        await self._stopping.start()

    async def stop(self, grace: float) -> None:
        """Takes no new call, gives the running ones `grace` seconds, and removes the socket."""
        await self._stopping.within(grace)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
