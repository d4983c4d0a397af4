"""What goes wrong between a service and its sidecar-agent.

::

    SidecarError
    ├── WatchUrlRequired            neither a watch URL nor a base URL is given (also an `hrpc.errors.OptionError`)
    ├── WatchError                  why the stream of events ended, or did not begin
    │   ├── WatchUnreachable        no connection to the agent
    │   ├── WatchHttpStatusError    an answer other than 200
    │   ├── WatchStreamClosed       the agent has ended it, or it was cut
    │   │   └── WatchSilent         it has sent nothing for too long
    │   └── WatchEventParseError    data that is no event
    │       └── FrameTooLarge       a frame without an end
    ├── SidecarApiError             a request to the agent that was not a success
    ├── RegisterReplayError         the service could not be registered; the cause says why
    └── AgentRunError               a stage of `hrpc_sidecar.Agent.run` failed; the cause says why
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from hrpc.errors import HrpcError, OptionError

Stage = Literal["lifecycle", "serve", "shutdown", "agent_shutdown"]
"""The watch; the service's own work; its end; what the agent is told of its end."""

_SHOWN = 200


class SidecarError(HrpcError):
    """The root of these errors."""


class WatchUrlRequired(SidecarError, OptionError):
    """There is nothing to watch."""

    def __init__(self) -> None:
        super().__init__("watch url is required: give base_url, the address of the sidecar-agent, or watch_url")


class WatchError(SidecarError):
    """Why there is no stream of events from the agent."""


class WatchUnreachable(WatchError):
    """The agent could not be connected to, or did not answer in time."""


class WatchHttpStatusError(WatchError):
    """The agent has answered the watch, but not with a stream; `status` is its HTTP status."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"GET {url}: the sidecar-agent answered with HTTP status {status} instead of events")
        self.status = status


class WatchStreamClosed(WatchError):
    """The stream has ended."""


class WatchSilent(WatchStreamClosed):
    """The stream was left because nothing had come for `limit` seconds."""

    def __init__(self, url: str, limit: float) -> None:
        super().__init__(f"GET {url}: nothing has come from the sidecar-agent for {limit:g} s")
        self.limit = limit


class WatchEventParseError(WatchError):
    """Data that looks like JSON and is no event; ``__cause__`` says what is wrong with it."""

    def __init__(self, event_type: str, event_id: str, payload: str, reason: str) -> None:
        which = f"{event_type!r}" + (f" with id {event_id!r}" if event_id else "")
        super().__init__(f"event {which} of the sidecar-agent: {reason}: {_short(payload)!r}")
        self.event_type = event_type
        self.event_id = event_id
        self.payload = payload


class FrameTooLarge(WatchEventParseError):
    """A frame of more than `limit` bytes; `payload` is how its data begins."""

    def __init__(self, event_type: str, event_id: str, payload: str, limit: int) -> None:
        super().__init__(event_type, event_id, payload, f"a frame of more than {limit} bytes")
        self.limit = limit


class SidecarApiError(SidecarError):
    """A request that was not a success.

    `status` is the HTTP status, None when there was no answer; `code` and `message` are what the agent said of it,
    empty when it did not.
    """

    def __init__(self, method: str, path: str, status: int | None, code: str = "", message: str = "") -> None:
        answered = "was not answered" if status is None else f"answered with HTTP status {status}"
        said = ", ".join(part for part in (code and f"code {_short(code)}", _short(message)) if part)
        super().__init__(f"sidecar-agent: {method} {path} {answered}" + (f": {said}" if said else ""))
        self.method = method
        self.path = path
        self.status = status
        self.code = code
        self.message = message


class RegisterReplayError(SidecarError):
    """The service could not be registered after the agent had connected; ``__cause__`` says why."""

    def __init__(self, service_name: str, service_port: int, cause: Exception) -> None:
        super().__init__(f"service {service_name!r} on port {service_port} is not registered: {cause}")
        self.service_name = service_name
        self.service_port = service_port
        self.__cause__ = cause


class AgentRunError(SidecarError):
    """A stage failed; ``__cause__`` says why. What failed after it stands in the notes."""

    def __init__(self, stage: Stage, cause: BaseException) -> None:
        super().__init__(f"{stage}: {cause}" if isinstance(cause, HrpcError) else f"{stage}: {cause!r}")
        self.stage = stage
        self.__cause__ = cause


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raises the error of a task group as it is, and not as a group, when it is the only one."""
    try:
        yield
    except ExceptionGroup as faults:
        raise faults if len(faults.exceptions) > 1 else faults.exceptions[0] from None


def reason(error: BaseException) -> str:
    """What an error of a library says, in one line."""
    return _short(" ".join(str(error).split()) or repr(error))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
