"""The ping service, ``/pkping.Ping/Ping``: takes and gives ``google.protobuf.Empty``."""

from __future__ import annotations

from typing import Any

import grpc

from hrpc.rpc.recorder import Recorder

PATH = "/pkping.Ping/Ping"


def add_to(recorder: Recorder) -> None:
    """Registers it."""
    from google.protobuf.empty_pb2 import Empty

    from hrpc.health import ping_pb2  # noqa: F401 - reflection finds it then

    handler = grpc.unary_unary_rpc_method_handler(
        _ping, request_deserializer=Empty.FromString, response_serializer=Empty.SerializeToString
    )
    recorder.add_registered_method_handlers("pkping.Ping", {"Ping": handler})


async def _ping(request: Any, _: Any) -> Any:
    return request.__class__()
