"""The errors of a server's start and stop, of its jobs, and of what is asked of it when it does not run."""

from __future__ import annotations

from collections.abc import Sequence

from hrpc.errors.root import HrpcError


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
