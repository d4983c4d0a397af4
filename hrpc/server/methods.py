"""What a server's options put around its methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hrpc.abc import Tracer
from hrpc.errors import OptionError
from hrpc.log.audit import AuditLog
from hrpc.metrics.calls import Calls
from hrpc.option import Settings
from hrpc.rpc.guard.guards import Guards
from hrpc.rpc.method import Method, of_the_server
from hrpc.rpc.recorder import Handler, Recorder


class Methods:
    """Describes the methods of one running server."""

    def __init__(
        self,
        settings: Settings,
        calls: Calls,
        recorder: Recorder,
        guards: Guards,
        tracer: Tracer | None,
        audit: AuditLog,
    ) -> None:
        """Raises `OptionError` for an option that names a method which `recorder` does not have."""
        self._settings = settings
        self._calls = calls
        self._guards = guards
        self._tracer = tracer
        self._audit = audit
        for option, names in guards.named().items():
            check_known(option, names, recorder)
        check_known("hrpc.with_default_timeout", settings.timeouts.methods, recorder)

    def describe(self, path: str, handler: Handler) -> Method:
        """What happens around ``/package.Service/Method``."""
        counts = self._calls.method(path, handler.request_streaming, handler.response_streaming)
        if of_the_server(path):
            return Method(counts=counts, auth=self._guards.auth(path))
        return Method(
            counts=counts,
            timeout=self._settings.timeouts.of(path),
            admission=self._guards.admission(path),
            auth=self._guards.auth(path),
            tracing=None if self._tracer is None else self._tracer.serving(path),
            audit=self._audit.method(path, _behaviour(handler)),
            not_found=self._settings.not_found,
        )


def _behaviour(handler: Handler) -> Callable[..., Any]:
    found: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return found  # type: ignore[no-any-return]


def check_known(option: str, names: Iterable[str], recorder: Recorder) -> None:
    """Checks that the methods and services that an option names are served. Raises `OptionError`.

    Beside a generic handler, which does not tell what it serves, every name may be right. So may those of reflection
    and the like, which not every environment serves.
    """
    methods = {path.removeprefix("/") for path in recorder.methods}
    known = methods | {method.partition("/")[0] for method in methods}
    for name in names:
        if name not in known and not recorder.generic and not of_the_server(f"/{name}"):
            raise OptionError(f"{option}: {name!r} is not served here; there are {', '.join(sorted(known)) or 'none'}")
