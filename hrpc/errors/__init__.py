"""Every error that hrpc raises.

::

    HrpcError
    ├── OptionError                 an option, or a combination of options, that cannot work (also a ValueError)
    │   ├── MissingServerName
    │   ├── InvalidPort
    │   └── PluginError             a plugin that cannot be used
    │       ├── MissingPlugin       1001: it is neither given nor installed
    │       └── PluginCycle         1002: plugins that depend on each other
    ├── StartError                  a step of the start failed; `step` names it, the cause says why
    ├── StartTimeout                the start took longer than its limit
    ├── StopError                   steps of the stop failed; everything else was released (also an ExceptionGroup)
    ├── JobTimeout                  a job took longer than its timeout (also a TimeoutError)
    ├── StepTimeout                 a step of the stop took longer than its limit
    ├── StepInterrupted             a step of the stop was cancelled half-way
    ├── NotRunning                  a resource was asked for outside a running server (also a RuntimeError)
    │   └── NotInitialized          the same, for `configs`
    ├── AlreadyRunning              a second server in one event loop, a change to a running one (also a RuntimeError)
    ├── BindError                   a port cannot be listened on
    │   └── PortTaken
    ├── CertificateError            a certificate or key that cannot be used
    ├── EngineMissing               the engine that was chosen is not installed, or does not run here
    ├── ForkError                   the process cannot be forked into workers as it is
    ├── WorkerError                 a worker that did not start, dies again and again, or does not answer
    ├── ConsulError
    │   ├── ConsulUnreachable       no answer: refused, timed out, cut off
    │   ├── ConsulPermissionDenied  403: the token may not do this
    │   └── ConsulRefused           any other answer that is not a success, or that is not Consul's
    ├── ConfigError
    │   ├── KeyNotExist             no such key in Consul KV
    │   └── InvalidConfig           a value that is not what was expected
    ├── DatabaseError
    │   ├── DatabaseUnavailable     away, or too slow to answer
    │   │   └── PoolTimeout         every connection stayed in use
    │   └── DatabaseRefused         reached, but it does not let us in
    ├── QueueError
    │   ├── QueueUnavailable        the brokers are away, or too slow to answer
    │   ├── HandlerTimeout          a handler of messages has taken too long (also a TimeoutError)
    │   └── QueueRefused            reached, but they do not let us in, or do not take the message
    ├── Reject                      what a handler of messages raises for one that is never going to be handled
    ├── UniqueIdError               no unique id can be made now: no node id is this process', or the clock is wrong
    ├── MetricError                 a metric that was registered or used as it cannot be (also a ValueError)
    ├── ServiceError
    │   ├── ServiceNotFound         no instance that passes its checks
    │   └── BreakerOpen             not called, because too many calls have failed (also a grpc.aio.AioRpcError)
    ├── ManagerError                hosted services failed; `setup`, `run`, `shutdown` say when (an ExceptionGroup)
    ├── ServicesErrors              those of one stage in it (an ExceptionGroup)
    ├── HostedServiceError          one service in that; `error` says why
    ├── PanicError                  why: it crashed
    ├── RunEnded                    why: its run() returned too early
    └── CallError                   what a handler raises for its caller; yours derive from it (also an AioRpcError)
        ├── Unknown                 HRPC 1000
        ├── NotFound                HRPC 1001
        ├── AlreadyExists           HRPC 1002
        ├── Validation              HRPC 1003: the request is wrong
        ├── Overloaded              HRPC 1004: a limit is reached
        ├── Unauthenticated         HRPC 1005
        ├── PermissionDenied        HRPC 1006
        └── Unavailable             HRPC 1007: what the call needs is away

What happened, to which option, key or address, and what to do about it stands in the message; the error of a library
below is kept as ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import grpc.aio

from hrpc.errors.builtin import AlreadyExists as AlreadyExists
from hrpc.errors.builtin import NotFound as NotFound
from hrpc.errors.builtin import Overloaded as Overloaded
from hrpc.errors.builtin import PermissionDenied as PermissionDenied
from hrpc.errors.builtin import Unauthenticated as Unauthenticated
from hrpc.errors.builtin import Unavailable as Unavailable
from hrpc.errors.builtin import Unknown as Unknown
from hrpc.errors.builtin import Validation as Validation
from hrpc.errors.call import CallError as CallError
from hrpc.errors.call import Hop as Hop
from hrpc.errors.hosted import HostedServiceError as HostedServiceError
from hrpc.errors.hosted import ManagerError as ManagerError
from hrpc.errors.hosted import PanicError as PanicError
from hrpc.errors.hosted import RunEnded as RunEnded
from hrpc.errors.hosted import ServicesErrors as ServicesErrors
from hrpc.errors.plugins import MissingPlugin as MissingPlugin
from hrpc.errors.plugins import PluginCycle as PluginCycle
from hrpc.errors.plugins import PluginError as PluginError
from hrpc.errors.queues import HandlerTimeout as HandlerTimeout
from hrpc.errors.queues import QueueError as QueueError
from hrpc.errors.queues import QueueRefused as QueueRefused
from hrpc.errors.queues import QueueUnavailable as QueueUnavailable
from hrpc.errors.queues import Reject as Reject
from hrpc.errors.root import HrpcError as HrpcError
from hrpc.errors.root import OptionError as OptionError


class MissingServerName(OptionError):
    """No server name was given."""

    def __init__(self) -> None:
        super().__init__('missing server name: pass hrpc.with_server_name("…") to new_server')


class InvalidPort(OptionError):
    """A port outside 0 to 65535, or outside 1 to 65535 where it is not one of this machine to be bound."""

    def __init__(self, option: str, port: object, lowest: int = 0) -> None:
        free = "" if lowest else ", or 0 for any free port"
        super().__init__(f"invalid port number {port!r}: {option} takes 1 to 65535{free}")
        self.port = port


class StartError(HrpcError):
    """A step of the start failed; what had been started was released again.

    `step` is the name of the step; ``__cause__`` is its error. The message says which of how many steps it was:
    ``[step 3/9] mysql: …``.
    """

    def __init__(self, step: str, cause: BaseException, place: str = "") -> None:
        said = f"{cause}" if isinstance(cause, HrpcError) else f"{cause!r}"
        super().__init__(f"{_placed(step, place)}: {said}")
        self.step = step


def _placed(step: str, place: str) -> str:
    return f"[{place}] {step}" if place else step


class StartTimeout(HrpcError):
    """A start took longer than `hrpc.with_start_limit` allows; it is the cause of a `StartError`, which says where."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"the start was not done within {limit:g} s, which is what hrpc.with_start_limit gives it")
        self.limit = limit


class JobTimeout(HrpcError, TimeoutError):
    """The job of `Server.run` took longer than its timeout."""

    def __init__(self, job: str, limit: float) -> None:
        super().__init__(f"the job {job} has not ended within {limit:g} s; give it more with server.run(…, timeout=…)")
        self.job = job
        self.limit = limit


class StepTimeout(HrpcError):
    """A step of the stop took longer than its limit and was abandoned."""

    def __init__(self, step: str, limit: float, place: str = "") -> None:
        super().__init__(f"{_placed(step, place)}: not done within {limit:g} s, abandoned")
        self.step = step
        self.limit = limit


class StopError(HrpcError, ExceptionGroup[Exception]):
    """Steps of the stop failed; all other steps were carried out."""

    def __new__(cls, errors: Sequence[Exception]) -> StopError:
        return super().__new__(cls, "the stop was not clean", errors)

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__("the stop was not clean", errors)

    def derive(self, errors: Sequence[Exception]) -> StopError:  # type: ignore[override]
        return StopError(errors)


class StepInterrupted(HrpcError):
    """A step of the stop was cancelled half-way, by the event loop's end or by a task of ours that crashed."""

    def __init__(self, step: str, place: str = "") -> None:
        super().__init__(f"{_placed(step, place)}: cancelled half-way")
        self.step = step


class NotRunning(HrpcError, RuntimeError):
    """A resource was asked for where no running server provides it."""


class NotInitialized(NotRunning):
    """`configs` was used before a server with Consul had started."""


class AlreadyRunning(HrpcError, RuntimeError):
    """A second server on one event loop, or a change that a running server no longer takes."""


class BindError(HrpcError):
    """A port that cannot be listened on."""


class PortTaken(BindError):
    """A port on which another process listens already."""

    def __init__(self, purpose: str, address: str, option: str) -> None:
        super().__init__(
            f"{purpose}: {address} is in use by another process; stop that one, or choose another port with {option}"
        )
        self.address = address


class CertificateError(HrpcError):
    """A certificate or a key that cannot be used."""


class EngineMissing(HrpcError):
    """The engine that was chosen is not installed, or does not run on this machine."""


class ForkError(HrpcError):
    """The process cannot be forked into workers, because of what runs in it already."""


class WorkerError(HrpcError):
    """A worker did not start, dies again and again, or does not answer."""


class ConsulError(HrpcError):
    """Consul did not do what it was asked for."""


class ConsulUnreachable(ConsulError):
    """No answer from Consul: refused, timed out, or cut off."""


class ConsulPermissionDenied(ConsulError):
    """403: the ACL token may not do this."""


class ConsulRefused(ConsulError):
    """An answer that is neither a success nor a 403, or that is not Consul's; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ConfigError(HrpcError):
    """A configuration value that cannot be used."""


class KeyNotExist(ConfigError):
    """There is no such key in Consul KV."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key!r} does not exist in Consul KV; create it, or check the environment and the prefix")
        self.key = key


class InvalidConfig(ConfigError):
    """A value that is not what was expected.

    `origin` says where the value stands (a KV key, or the call it was given in), `field` which part of it, and `reason`
    what is wrong with it.
    """

    def __init__(self, origin: str, field: str | None, expected: str, found: str) -> None:
        self._tell(origin, field, f"expected {expected}, found {found}")

    @classmethod
    def because(cls, origin: str, field: str | None, reason: str) -> InvalidConfig:
        """One whose reason is told by what has checked the value, such as a class of the user."""
        error = cls.__new__(cls)
        error._tell(origin, field, reason)
        return error

    def _tell(self, origin: str, field: str | None, reason: str) -> None:
        super().__init__(f"{origin}: field {field!r}: {reason}" if field else f"{origin}: {reason}")
        self.origin = origin
        self.field = field
        self.reason = reason


class DatabaseError(HrpcError):
    """A database cannot be used. `origin` is where its settings stand, when it is known."""

    origin: str | None = None


class DatabaseUnavailable(DatabaseError):
    """A database is away, or does not answer in time. A call that ends with this error answers UNAVAILABLE."""


class PoolTimeout(DatabaseUnavailable):
    """Every connection of a pool stayed in use for as long as a caller may wait."""


class DatabaseRefused(DatabaseError):
    """A database was reached but does not let us in: wrong user, password or database name."""


class UniqueIdError(HrpcError):
    """No unique id can be made now, because two could become the same. A call that ends with it answers UNAVAILABLE."""


class MetricError(HrpcError, ValueError):
    """A metric that was registered or used in a way that cannot be."""


class ServiceError(HrpcError):
    """A service cannot be called."""


class ServiceNotFound(ServiceError):
    """No instance of the service passes its checks, or the token may not read it."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(f"[{name}] not found or no permission to read{hint}")
        self.name = name


class BreakerOpen(ServiceError, grpc.aio.AioRpcError):
    """A call was not made, because too many have failed; see `hrpc.with_circuit_breaker`.

    `name` is what was not called, and `retry_after` says after how many seconds it is tried again. It is also a
    ``grpc.aio.AioRpcError`` with the code UNAVAILABLE.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        no_metadata = grpc.aio.Metadata()
        text = f"{name}: not called for another {retry_after:.1f} s, because too many calls have failed"
        grpc.aio.AioRpcError.__init__(self, grpc.StatusCode.UNAVAILABLE, no_metadata, no_metadata, text)
        self.name = name
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.details() or ""

    def __reduce__(self) -> tuple[type[BreakerOpen], tuple[str, float]]:
        return BreakerOpen, (self.name, self.retry_after)
