"""The errors of hosted services: which of them failed, when, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from hrpc.errors.root import HrpcError

Stage = Literal["setup", "run", "shutdown"]

STAGES: Mapping[Stage, str] = {"setup": "set-up", "run": "run", "shutdown": "shutdown"}
"""The stages of a service's life in their order, and what they are called in messages."""


class HostedServiceError(HrpcError):
    """One hosted service failed: `service_id` says which, `error` (also ``__cause__``) says why."""

    def __init__(self, service_id: str, error: Exception) -> None:
        super().__init__(f"service {service_id!r}: {error if isinstance(error, HrpcError) else repr(error)}")
        self.service_id = service_id
        self.error = error
        self.__cause__ = error


class ServicesErrors(HrpcError, ExceptionGroup[HostedServiceError]):
    """All `HostedServiceError` of one `stage`: ``setup``, ``run`` or ``shutdown``."""

    def __new__(cls, stage: Stage, errors: Sequence[HostedServiceError]) -> ServicesErrors:
        return super().__new__(cls, _told(stage, errors), errors)

    def __init__(self, stage: Stage, errors: Sequence[HostedServiceError]) -> None:
        super().__init__(_told(stage, errors), errors)
        self.stage = stage

    @property
    def errors(self) -> tuple[HostedServiceError, ...]:
        """The errors, in the order of `hrpc.with_services`."""
        return self.exceptions  # type: ignore[return-value]

    def __str__(self) -> str:
        return self.message

    def derive(self, errors: Sequence[HostedServiceError]) -> ServicesErrors:  # type: ignore[override]
        return ServicesErrors(self.stage, errors)


class ManagerError(HrpcError, ExceptionGroup[ServicesErrors]):
    """Hosted services failed, and the server has stopped for it; `setup`, `run` and `shutdown` say when and which.

    ::

        try:
            async with server: ...
        except ManagerError as failed:
            for error in failed.run.errors if failed.run else ():
                print(error.service_id, error.error)

    ``except* HostedServiceError`` finds the single errors as well.
    """

    def __new__(cls, groups: Sequence[ServicesErrors]) -> ManagerError:
        return super().__new__(cls, _all_told(groups), groups)

    def __init__(self, groups: Sequence[ServicesErrors]) -> None:
        super().__init__(_all_told(groups), groups)

    @property
    def setup(self) -> ServicesErrors | None:
        """The services that could not be set up; none was run then."""
        return self._of("setup")

    @property
    def run(self) -> ServicesErrors | None:
        """The services whose run failed, or ended before it was told to."""
        return self._of("run")

    @property
    def shutdown(self) -> ServicesErrors | None:
        """The services that did not let go of what they held, or not in time."""
        return self._of("shutdown")

    def of(self, service_id: str) -> tuple[HostedServiceError, ...]:
        """What went wrong with one service, stage by stage."""
        return tuple(error for group in self._groups for error in group.errors if error.service_id == service_id)

    def _of(self, stage: Stage) -> ServicesErrors | None:
        return next((group for group in self._groups if group.stage == stage), None)

    @property
    def _groups(self) -> tuple[ServicesErrors, ...]:
        return self.exceptions  # type: ignore[return-value]

    def __str__(self) -> str:
        return self.message

    def derive(self, groups: Sequence[ServicesErrors]) -> ManagerError:  # type: ignore[override]
        return ManagerError(groups)


class PanicError(HrpcError):
    """A hosted service crashed: it raised what is no ``Exception``, or was cancelled by somebody else than its server.

    ``__cause__`` is what it raised.
    """

    def __init__(self, raised: BaseException) -> None:
        super().__init__(f"crashed, it raised {raised!r}")
        self.__cause__ = raised


class RunEnded(HrpcError):
    """The ``run()`` of a hosted service returned although nobody had asked for the stop."""

    def __init__(self) -> None:
        super().__init__("run() has returned; it has to go on until it is cancelled, or to raise what ails it")


def _told(stage: Stage, errors: Sequence[HostedServiceError]) -> str:
    return f"{STAGES[stage]} failed: {'; '.join(map(str, errors))}"


def _all_told(groups: Sequence[ServicesErrors]) -> str:
    return ", ".join(_told(group.stage, group.errors) for group in groups)
