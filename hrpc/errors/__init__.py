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
from hrpc.errors.configs import ConfigError as ConfigError
from hrpc.errors.configs import InvalidConfig as InvalidConfig
from hrpc.errors.configs import KeyNotExist as KeyNotExist
from hrpc.errors.consul import ConsulError as ConsulError
from hrpc.errors.consul import ConsulPermissionDenied as ConsulPermissionDenied
from hrpc.errors.consul import ConsulRefused as ConsulRefused
from hrpc.errors.consul import ConsulUnreachable as ConsulUnreachable
from hrpc.errors.databases import DatabaseError as DatabaseError
from hrpc.errors.databases import DatabaseRefused as DatabaseRefused
from hrpc.errors.databases import DatabaseUnavailable as DatabaseUnavailable
from hrpc.errors.databases import PoolTimeout as PoolTimeout
from hrpc.errors.hosted import HostedServiceError as HostedServiceError
from hrpc.errors.hosted import ManagerError as ManagerError
from hrpc.errors.hosted import PanicError as PanicError
from hrpc.errors.hosted import RunEnded as RunEnded
from hrpc.errors.hosted import ServicesErrors as ServicesErrors
from hrpc.errors.life import AlreadyRunning as AlreadyRunning
from hrpc.errors.life import JobTimeout as JobTimeout
from hrpc.errors.life import NotInitialized as NotInitialized
from hrpc.errors.life import NotRunning as NotRunning
from hrpc.errors.life import StartError as StartError
from hrpc.errors.life import StartTimeout as StartTimeout
from hrpc.errors.life import StepInterrupted as StepInterrupted
from hrpc.errors.life import StepTimeout as StepTimeout
from hrpc.errors.life import StopError as StopError
from hrpc.errors.plugins import MissingPlugin as MissingPlugin
from hrpc.errors.plugins import PluginCycle as PluginCycle
from hrpc.errors.plugins import PluginError as PluginError
from hrpc.errors.queues import HandlerTimeout as HandlerTimeout
from hrpc.errors.queues import QueueError as QueueError
from hrpc.errors.queues import QueueRefused as QueueRefused
from hrpc.errors.queues import QueueUnavailable as QueueUnavailable
from hrpc.errors.queues import Reject as Reject
from hrpc.errors.root import HrpcError as HrpcError
from hrpc.errors.root import InvalidPort as InvalidPort
from hrpc.errors.root import MissingServerName as MissingServerName
from hrpc.errors.root import OptionError as OptionError
from hrpc.errors.services import BreakerOpen as BreakerOpen
from hrpc.errors.services import ServiceError as ServiceError
from hrpc.errors.services import ServiceNotFound as ServiceNotFound


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


class UniqueIdError(HrpcError):
    """No unique id can be made now, because two could become the same. A call that ends with it answers UNAVAILABLE."""


class MetricError(HrpcError, ValueError):
    """A metric that was registered or used in a way that cannot be."""


def _named_as_they_are_caught() -> None:
    for error in tuple(globals().values()):
        if isinstance(error, type) and issubclass(error, HrpcError) and not issubclass(error, CallError):
            error.__module__ = __name__  # what tracebacks and spans tell


_named_as_they_are_caught()
