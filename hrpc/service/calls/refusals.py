"""Which failures say that a call surely did not run; docs/adr says why each of them does.

grpc.aio tells this in words only (measured with grpcio 1.85). A server may repeat such words that it has heard from yet
another one, after its own handler has run. So a connect failure has to be one by the state of the connection as well;
and a refusal counts only from a server of hrpc's, which lets no handler use these words (`hrpc.status.by_handler`).
"""

from __future__ import annotations

import grpc

from hrpc.status import GOAWAY, NOT_BEGUN, REFUSED_STREAM, STOPPING

_CONNECT = ("failed to connect to all addresses", "DNS resolution failed for ", "errors resolving ")


def is_connect_failure(code: grpc.StatusCode, details: str, state: grpc.ChannelConnectivity, port: int) -> bool:
    """Whether no connection to the instance, which listens on `port`, was there to send the call on."""
    return (
        code is grpc.StatusCode.UNAVAILABLE
        and state is not grpc.ChannelConnectivity.READY
        and details.startswith(_CONNECT)
        and f":{port}: " in details
    )


def is_refusal(code: grpc.StatusCode, details: str, trailing_metadata: object) -> bool:
    """Whether a server of hrpc's has refused the call before anybody there saw it."""
    if trailing_metadata:
        return False  # as nothing but a handler's answer has
    if code is grpc.StatusCode.UNAVAILABLE:
        return details in (REFUSED_STREAM, NOT_BEGUN) or details.startswith(GOAWAY)
    return code is grpc.StatusCode.CANCELLED and details == STOPPING
