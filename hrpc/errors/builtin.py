"""The errors of calls that come with hrpc, all of the issuer HRPC."""

from __future__ import annotations

from grpc import StatusCode

from hrpc.errors.call import OWN_ISSUER, CallError


class Unknown(CallError, issuer=OWN_ISSUER, code=1000, grpc_code=StatusCode.UNKNOWN, message="unknown error"):
    """Something that has no name."""


class NotFound(CallError, issuer=OWN_ISSUER, code=1001, grpc_code=StatusCode.NOT_FOUND, message="not found"):
    """What was asked for does not exist."""


class AlreadyExists(
    CallError, issuer=OWN_ISSUER, code=1002, grpc_code=StatusCode.ALREADY_EXISTS, message="already exists"
):
    """What was to be made exists."""


class Validation(
    CallError, issuer=OWN_ISSUER, code=1003, grpc_code=StatusCode.INVALID_ARGUMENT, message="invalid argument"
):
    """The request is wrong, whatever the state of the service; `violations` says what of it."""


class Overloaded(
    CallError, issuer=OWN_ISSUER, code=1004, grpc_code=StatusCode.RESOURCE_EXHAUSTED, message="too many calls"
):
    """A limit is reached; `retry_after` says when to try again."""


class Unauthenticated(
    CallError, issuer=OWN_ISSUER, code=1005, grpc_code=StatusCode.UNAUTHENTICATED, message="not authenticated"
):
    """It is not known who calls."""


class PermissionDenied(
    CallError, issuer=OWN_ISSUER, code=1006, grpc_code=StatusCode.PERMISSION_DENIED, message="permission denied"
):
    """It is known who calls, and that they may not."""


class Unavailable(CallError, issuer=OWN_ISSUER, code=1007, grpc_code=StatusCode.UNAVAILABLE, message="unavailable"):
    """What the call needs is away for now."""
