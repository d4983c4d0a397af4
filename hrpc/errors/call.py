"""The root of the errors that cross from a handler to its caller, and what all of them share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

import grpc
import grpc.aio

from hrpc.errors.root import HrpcError, OptionError

OWN_ISSUER = "HRPC"
"""Who issues the errors that come with hrpc."""

RESERVED = range(1000, 2000)
"""The codes of that issuer that are kept for hrpc."""

_ISSUER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}", re.ASCII)
_HIGHEST_CODE = 2**32 - 1  # a uint32 on the wire


@dataclass(frozen=True, slots=True)
class Hop:
    """One service that an error has come through; what the service hides is empty."""

    app_name: str
    app_host: str = ""
    stack_trace: str = ""
    additional_context: str = ""


class CallError(HrpcError, grpc.aio.AioRpcError):
    """The root of the errors that a handler raises for its caller, and that the caller catches again.

    A class of it is one error, known everywhere by its issuer and its code::

        class OutOfStock(
            errors.CallError,
            issuer="SHOP",
            code=2000,
            grpc_code=grpc.StatusCode.FAILED_PRECONDITION,
            message="out of stock",
        ):
            '''Fewer are left than were ordered.'''

        raise OutOfStock("only 3 left", retry_after=60)     # in a handler of one service

        try:                                                # in another service
            await shop.Order(request)
        except OutOfStock as error:
            ...

    A class without a code is a group, for ``except``: its classes inherit its issuer and gRPC code. A class without a
    code of its own that is derived from one with a code arrives as the latter. The name is that of the class when none
    is given, and the message is the name. Codes 1000 to 1999 of the issuer HRPC are hrpc's own.

    ``SHOP_ERROR_ISSUER`` and ``SHOP_ERROR_CODE_OFFSET`` in the environment, as they are when the class is made, replace
    that issuer and shift its codes, so that two deployments can be told apart. Making a class raises `OptionError` for
    anything that cannot work, such as an issuer and a code that another class has.

    Of an error of the same process `trace` is empty. Of one that came from another service, it has the services that
    the error came through, first the one that raised it. When no class has its issuer and code, it is a plain
    `CallError` with all of its fields. What ``add_note`` adds is the hop's additional context.

    It is also a ``grpc.aio.AioRpcError``, with `code`, `details` and the metadata that came with it. Two errors are
    equal when issuer and code are.
    """

    issuer: str = ""
    error_code: int = 0
    name: str = "CallError"
    grpc_code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    default_message: str = ""

    _declared_issuer: ClassVar[str] = ""
    _received = False

    id: str
    """A UUID, the same at every hop."""
    message: str
    time: datetime | None
    """When it was raised first, in UTC; None when another process has not said so."""
    error_details: tuple[Any, ...]
    """The protobuf messages that go along; ``google.protobuf.Any`` where this process does not know the type."""
    retry_after: float | None
    """Seconds after which the caller may try again."""
    violations: Mapping[str, str]
    """What is wrong, by field of the request."""
    trace: tuple[Hop, ...]
    repeated: bool = False
    """Whether `again` has made it."""

    def __init_subclass__(
        cls,
        *,
        issuer: str | None = None,
        code: int | None = None,
        grpc_code: grpc.StatusCode | None = None,
        message: str | None = None,
        name: str | None = None,
        **others: Any,
    ) -> None:
        super().__init_subclass__(**others)
        if issuer is not None:
            cls._declared_issuer = issuer
            cls.issuer = _issuer_of_deployment(cls, issuer)
        if grpc_code is not None:
            if not isinstance(grpc_code, grpc.StatusCode) or grpc_code is grpc.StatusCode.OK:
                raise OptionError(f"{cls.__qualname__}: grpc_code={grpc_code!r} is not the status of an error")
            cls.grpc_code = grpc_code
        if code is not None or name is not None:
            cls.name = name or cls.__name__
        if message is not None or code is not None:
            cls.default_message = message or cls.name
        if code is not None:
            cls.error_code = _code_of_deployment(cls, code)
            _declare(cls, code)

    def __init__(
        self,
        message: str | None = None,
        *,
        details: Iterable[Any] = (),
        retry_after: float | None = None,
        violations: Mapping[str, str] | None = None,
    ) -> None:
        """The class' own message when `message` is None. `details` are protobuf messages for the caller.

        A caller may try again after `retry_after` seconds; `violations` says what is wrong, by field of the request.
        Raises TypeError for a class without a code, or details that are not messages, and ValueError for a negative
        `retry_after`.
        """
        if not self.error_code:
            raise TypeError(f"{type(self).__qualname__} has no code: raise one of its classes that has")
        if retry_after is not None and not 0 <= retry_after < float("inf"):
            raise ValueError(f"retry_after={retry_after!r}: takes seconds, 0 or more")
        self.error_details = tuple(details)
        for detail in self.error_details:
            if not hasattr(detail, "DESCRIPTOR"):
                raise TypeError(f"details: takes protobuf messages, not {type(detail).__name__}")
        self.id = _new_id()
        self.time = datetime.now(UTC)
        self.message = self.default_message if message is None else str(message)
        self.retry_after = retry_after
        self.violations = dict(violations or {})
        self.trace = ()
        self._source: tuple[str, str] | None = None
        no_metadata = grpc.aio.Metadata()
        grpc.aio.AioRpcError.__init__(self, self.grpc_code, no_metadata, no_metadata, self.message)

    @property
    def source_error(self) -> str:
        """The words of the error that this one was raised from; empty without one, or where a service hides it."""
        return self._from()[0]

    @property
    def source_type(self) -> str:
        """The type of the error that this one was raised from."""
        return self._from()[1]

    def _from(self) -> tuple[str, str]:
        if self._source is None and self.__cause__ is not None:
            return _words(self.__cause__), type(self.__cause__).__qualname__
        return self._source or ("", "")

    def again(self) -> Self:
        """The same error, with its id and time, to raise once more: cheap for what is refused thousands of times a
        second, because its details are encoded only once."""
        error = self.__class__.__new__(self.__class__)
        error.__dict__.update(self.__dict__, repeated=True)
        return error

    def received(self, hop: Hop) -> Self:
        """Itself, with the service that has received it as its last hop."""
        self.trace = (*self.trace, hop)
        self._received = True
        return self

    def passed_on(self, hop: Hop) -> tuple[Hop, ...]:
        """The trace for the caller of the service that lets it pass: `hop` is that service, and its last one."""
        return (*(self.trace[:-1] if self._received else self.trace), hop)

    @classmethod
    def restored(cls, fields: Mapping[str, Any]) -> CallError:
        """The error that another process has raised: of the class with its issuer and code, else a plain one.

        `fields` are the attributes; `source` is the pair of `source_error` and `source_type`, and `initial_metadata`,
        `trailing_metadata` and `debug_error_string` are those of the call that ended with it.
        """
        known = _classes.get((fields["issuer"], fields["error_code"]), CallError)
        error: CallError = known.__new__(known)
        state = dict(fields)
        initial, trailing = state.pop("initial_metadata"), state.pop("trailing_metadata")
        debug = state.pop("debug_error_string")
        grpc.aio.AioRpcError.__init__(error, state["grpc_code"], initial, trailing, state["message"], debug)
        error._source = state.pop("source")
        error.__dict__.update(state)
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        # A class may have an __init__ of its own, so a copy is made without it.
        return _new, (type(self),), {**self.__dict__, "_source": self._from()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CallError):
            return NotImplemented
        return (self.issuer, self.error_code) == (other.issuer, other.error_code)

    def __hash__(self) -> int:
        return hash((self.issuer, self.error_code))

    def __str__(self) -> str:
        source, _ = self._from()
        text = f"({self.name} | {self.issuer} | {self.error_code}) {self.message}"
        return f"{text} | from: {source}" if source else text

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} {self}>"


_classes: dict[tuple[str, int], type[CallError]] = {}


def _new_id() -> str:
    from uuid import uuid4  # with all that it looks up of the platform, which `import hrpc` does without

    return str(uuid4())


def _new(cls: type[CallError]) -> CallError:
    return cls.__new__(cls)


def _declare(cls: type[CallError], code: int) -> None:
    ours = cls.__module__.startswith("hrpc.errors.")
    identities = {(cls._declared_issuer, code), (cls.issuer, cls.error_code)}
    if not ours and any(issuer == OWN_ISSUER and number in RESERVED for issuer, number in identities):
        raise OptionError(
            f"{cls.__qualname__}: codes {RESERVED.start} to {RESERVED.stop - 1} of the issuer {OWN_ISSUER} are hrpc's "
            "own; give it another issuer, or another code"
        )
    identity = (cls.issuer, cls.error_code)
    other = _classes.get(identity)
    if other is not None and _place(other) != _place(cls):  # the same place: the module was loaded again
        raise OptionError(
            f"{_place(cls)}: issuer {cls.issuer} and code {cls.error_code} are those of {_place(other)} as well; "
            "give one of them another code"
        )
    _classes[identity] = cls


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a faulty __str__ of somebody's error must not cost the caller its answer
        return ""


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _issuer_of_deployment(cls: type, issuer: object) -> str:
    if not isinstance(issuer, str) or not _ISSUER.fullmatch(issuer):
        raise OptionError(f"{cls.__qualname__}: issuer={issuer!r} takes a letter and up to 62 more, digits, _ . or -")
    variable = _variable(issuer, "ISSUER")
    replaced = os.environ.get(variable) or issuer
    if not _ISSUER.fullmatch(replaced):
        raise OptionError(f"{variable}={replaced!r}: takes a letter and up to 62 more, digits, _ . or -")
    return replaced


def _code_of_deployment(cls: type[CallError], code: object) -> int:
    if not cls._declared_issuer:
        raise OptionError(f'{cls.__qualname__}: a code needs an issuer, class {cls.__name__}(…, issuer="SHOP", code=…)')
    if type(code) is not int or not 1 <= code <= _HIGHEST_CODE:
        raise OptionError(f"{cls.__qualname__}: code={code!r} takes a whole number from 1 to {_HIGHEST_CODE}")
    variable = _variable(cls._declared_issuer, "CODE_OFFSET")
    offset = os.environ.get(variable) or "0"
    if not (offset.isascii() and offset.isdigit() and len(offset) <= 10) or code + int(offset) > _HIGHEST_CODE:
        raise OptionError(
            f"{variable}={offset!r}: takes a whole number from 0, to add to the codes of {cls._declared_issuer}; "
            f"{cls.__qualname__} has {code}, and {_HIGHEST_CODE} is the highest"
        )
    return code + int(offset)


def _variable(issuer: str, purpose: str) -> str:
    return f"{re.sub('[^A-Za-z0-9]', '_', issuer).upper()}_ERROR_{purpose}"
