"""What goes wrong, as an HTTP answer: a status and the JSON of a ``google.rpc.Status``."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import grpc
import grpc.aio
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from multidict import CIMultiDict

DETAILS = "grpc-status-details-bin"
"""The trailer with the whole ``google.rpc.Status``, as grpcio-status writes it."""

# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
HTTP_STATUS: Mapping[grpc.StatusCode, int] = MappingProxyType(
    {
        grpc.StatusCode.OK: 200,
        grpc.StatusCode.CANCELLED: 499,
        grpc.StatusCode.UNKNOWN: 500,
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.DEADLINE_EXCEEDED: 504,
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.ALREADY_EXISTS: 409,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.UNAUTHENTICATED: 401,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
        grpc.StatusCode.FAILED_PRECONDITION: 400,
        grpc.StatusCode.ABORTED: 409,
        grpc.StatusCode.OUT_OF_RANGE: 400,
        grpc.StatusCode.UNIMPLEMENTED: 501,
        grpc.StatusCode.INTERNAL: 500,
        grpc.StatusCode.UNAVAILABLE: 503,
        grpc.StatusCode.DATA_LOSS: 500,
    }
)


class Problem(Exception):
    """Ends a request with an error."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        status: int | None = None,
        field: str | None = None,
        description: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`status` is that of HTTP where it is not the usual one of `code`; `field` names what of the request is
        wrong, and `description` says of it what `message` says of the whole."""
        message, description = _text(message), _text(description or message)
        super().__init__(message)
        self.status = HTTP_STATUS[code] if status is None else status
        self.headers = CIMultiDict(headers)
        self.body: dict[str, Any] = {"code": code.value[0], "message": message, "details": []}
        if field is not None:
            violation = error_details_pb2.BadRequest.FieldViolation(field=_text(field), description=description)
            self.body["details"].append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))


def of_call(error: grpc.aio.AioRpcError) -> Problem:
    """The problem of a call that has failed, with the details of its status."""
    problem = Problem(error.code(), error.details() or "")
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        problem.headers["WWW-Authenticate"] = "Bearer"  # which an answer 401 has to have: RFC 9110, 15.5.2
    raw = dict(error.trailing_metadata() or ()).get(DETAILS)
    if isinstance(raw, bytes):
        problem.body["details"] = list(_details(raw))
    return problem


def _details(raw: bytes) -> Iterable[dict[str, Any]]:
    status = status_pb2.Status()
    try:
        status.ParseFromString(raw)
    except DecodeError:
        return
    for detail in status.details:
        try:
            yield json_format.MessageToDict(detail)
        except (TypeError, ValueError):  # of a type that this process does not know
            yield {"@type": detail.type_url, "value": base64.b64encode(detail.value).decode()}


def _packed(message: Message) -> dict[str, Any]:
    return {
        "@type": f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        **json_format.MessageToDict(message),
    }


def _text(said: str) -> str:
    # Half a character, which JSON can write and which no protobuf takes, may be in what the client has sent.
    return said.encode(errors="backslashreplace").decode()


def listed(names: Sequence[str]) -> str:
    """``a, b or c``."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
