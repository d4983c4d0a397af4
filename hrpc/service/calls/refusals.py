"""Which failures say that a call surely did not run; docs/adr says why each of them does.

grpc.aio tells this in words only (measured with grpcio 1.85). A server may repeat such words that it has heard from yet
another one, after its own handler has run; so where the connection can be asked, its state has to agree with them.
"""

from __future__ import annotations

import grpc

_CONNECT = ("failed to connect to all addresses", "DNS resolution failed for ")
_GOAWAY = "Stream removed (GOAWAY received;"
"""Of streams above the last one that the server has looked at (RFC 9113, 6.8); of others it says "Socket closed"."""
_REFUSED_STREAM = "Stream removed (RST_STREAM (Received RST_STREAM with error code 7))"
"""RFC 9113, 8.7: a stream that is refused with it has not been processed."""
_STOPPING = "CANCELLED"
"""What gRPC's core answers to the calls that a server, which stops, had not handed to anybody."""


def is_connect_failure(code: grpc.StatusCode, details: str, state: grpc.ChannelConnectivity, port: int) -> bool:
    """Whether no connection to the instance, which listens on `port`, was there to send the call on."""
    return (
        code is grpc.StatusCode.UNAVAILABLE
        and state is not grpc.ChannelConnectivity.READY
        and details.startswith(_CONNECT)
        and f":{port}: " in details
    )


def is_refusal(code: grpc.StatusCode, details: str, state: grpc.ChannelConnectivity, is_hrpc: bool) -> bool:
    """Whether the server has refused the call before anybody there saw it. `is_hrpc`: it is a server of hrpc's."""
    if code is grpc.StatusCode.UNAVAILABLE:
        if details.startswith(_GOAWAY):
            return state is not grpc.ChannelConnectivity.READY
        return details == _REFUSED_STREAM
    # Another server's handler might end so, too; hrpc answers every call that it has seen with words of its own.
    return is_hrpc and code is grpc.StatusCode.CANCELLED and details == _STOPPING
