"""What belongs to a running server, found by event loop. The only place in hrpc with state.

A process may run several event loops, each with one server; nothing is shared between them but the hooks and the
metrics that modules register while they are imported, before any loop exists.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from hrpc.abc import Tracer
from hrpc.errors import AlreadyRunning, NotRunning

T = TypeVar("T")
Hook = Callable[[], Awaitable[object] | object]


class Slot(Generic[T]):
    """The place of one resource in a runtime: a module declares it, the server fills it, ``get()`` reads it."""

    def __init__(self, name: str, option: str | None, error: type[NotRunning] = NotRunning) -> None:
        """`name` and `option` are for the error: what is missing, and what to pass to ``new_server`` to have it; None
        for what every server has."""
        self.name = name
        self._option = option
        self._error = error

    def get(self) -> T:
        """The value in the runtime of this event loop, or of the call that this thread serves. Raises `NotRunning`."""
        runtime = current()
        if runtime is not None:
            try:
                return cast(T, runtime.values[self])
            except KeyError:
                pass
        raise self._missing(runtime)

    def _missing(self, runtime: Runtime | None) -> NotRunning:
        if runtime is None:
            where = "no hrpc server is running in this event loop (or not yet); use it in a handler, a job or a hook"
            return self._error(f"{self.name}: {where}" + (f", with {self._option}" if self._option else ""))
        remedy = f"pass {self._option} to new_server" if self._option else "it has not begun, or has ended"
        return self._error(f"{self.name}: the server {runtime.server_name!r} has none; {remedy}")


class Slots(Generic[T]):
    """The places of the resources of one kind, such as databases: one that is called as its kind, others by name."""

    def __init__(self, kind: str, option: str) -> None:
        """`option` is what to pass to ``new_server``, with ``{}`` in the place of what says the name."""
        self.own: Slot[T] = Slot(kind, option.format(""))
        self._option = option
        self._named: dict[str, Slot[T]] = {kind: self.own}

    def of(self, name: str) -> Slot[T]:
        """The place of this name, made when it is asked for the first time."""
        return self._named.setdefault(name, self._named.get(name) or self._new(name))

    def get(self, name: str | None) -> T:
        """The value of this name, or of the one that is called as its kind. Raises `NotRunning`."""
        if name is None:
            return self.own.get()
        # What nobody has made is not kept: names could come from anywhere.
        return (self._named.get(name) or self._new(name)).get()

    def _new(self, name: str) -> Slot[T]:
        return Slot(f"{self.own.name} {name!r}", self._option.format(f'name="{name}"'))


class Runtime:
    """One running server: its name and the values it provides."""

    def __init__(self, server_name: str, stack_skip: int = 1) -> None:
        self.server_name = server_name
        self.stack_skip = stack_skip
        self.prefix = ""
        """What the keys of this service begin with in stores that several environments share."""
        self.worker: int | None = None
        """The number of this process among the workers of the service; None when it serves alone."""
        self.tracer: Tracer | None = None
        """What traces calls and requests; None when nothing does. It is set before anything else is opened."""
        self.values: dict[Slot[Any], object] = {}
        self.exit_hooks: list[Hook] = []
        self.restart_hooks: list[Hook] = []
        self.metrics: dict[str, Any] = {}
        """The instruments that were registered in this life, by name."""

    @contextmanager
    def provide(self, slot: Slot[T], value: T) -> Iterator[None]:
        """Fills a slot for as long as the context lasts, then puts back what was there."""
        missing = object()
        before = self.values.get(slot, missing)
        self.values[slot] = value
        try:
            yield
        finally:
            if before is missing:
                del self.values[slot]
            else:
                self.values[slot] = before

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Makes this the runtime of the running event loop. Raises `AlreadyRunning` when it has one."""
        loop = asyncio.get_running_loop()
        other = _runtimes.get(loop)
        if other is not None:
            raise AlreadyRunning(
                f"the server {other.server_name!r} runs in this event loop already; stop it first, or give "
                f"{self.server_name!r} an event loop or a process of its own"
            )
        _runtimes[loop] = self
        try:
            yield
        finally:
            del _runtimes[loop]


_runtimes: WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = WeakKeyDictionary()
_of_thread: contextvars.ContextVar[Runtime | None] = contextvars.ContextVar("hrpc_runtime", default=None)
_awaited_by: contextvars.ContextVar[Runtime | None] = contextvars.ContextVar("hrpc_awaited_by", default=None)

# What was registered outside of a running server, as modules do at import: it belongs to every life.
early_exit_hooks: list[Hook] = []
early_restart_hooks: list[Hook] = []
early_metrics: dict[str, Any] = {}
early_config_watches: list[Any] = []
early_health_checks: list[Any] = []


class ProcessLog:
    """What servers change of the process' logging, for as long as at least one of them runs."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.servers = 0
        self.default_sink: int | None = 0
        """The number of loguru's default sink: its own 0, later the one that the last server to stop has put back."""
        self.undo: Callable[[], None] = lambda: None
        self.writing = threading.Lock()
        """Held while lines are written, so that those of two servers do not end up inside of each other."""


process_log = ProcessLog()


class ProcessIds:
    """What makes the unique ids of this process: what a server has brought last, else its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.nodes: Any = None
        """The node ids that this process has taken on this machine."""
        self.own: Any = None
        self.given: list[Any] = []
        self._over: Any = None

    @contextmanager
    def giving(self, generator: Any) -> Iterator[None]:
        """Lets `generator` make the ids of the process, for as long as the context lasts.

        The last one stays after that: where somebody has chosen node ids, none is ever guessed.
        """
        with self.lock:
            self.given.append(generator)
            self.forget()  # after it, so that another thread always finds one
        try:
            yield
        finally:
            with self.lock:
                if len(self.given) > 1:
                    self.given.remove(generator)
                else:
                    self._over = generator

    def forget(self) -> None:
        """Lets go of what has stayed."""
        if self._over is not None:
            self.given.remove(self._over)
            self._over = None


process_ids = ProcessIds()


def enter_thread(runtime: Runtime) -> contextvars.Token[Runtime | None]:
    """Makes `runtime` the current one of a context that runs in a thread, where no event loop leads to it."""
    return _of_thread.set(runtime)


def leave_thread(token: contextvars.Token[Runtime | None]) -> None:
    """Undoes the `enter_thread` that gave `token`."""
    _of_thread.reset(token)


def await_this_task() -> None:
    """Says that the stop of the server waits for the current task, and for what it begins."""
    _awaited_by.set(current())


def awaits_this_task(runtime: Runtime) -> bool:
    """Whether the stop of this server waits for what runs here, so that it cannot wait for the stop."""
    return _awaited_by.get() is runtime


def current() -> Runtime | None:
    """The runtime of the running event loop, else the one this thread was entered with, else None."""
    try:
        return _runtimes.get(asyncio.get_running_loop())
    except RuntimeError:
        return _of_thread.get()


def tracer() -> Tracer | None:
    """What traces in the current runtime. Whoever makes many requests asks once, when it opens."""
    runtime = current()
    return None if runtime is None else runtime.tracer
