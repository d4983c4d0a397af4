"""Threads for handlers that are not coroutines."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

from hrpc.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")

NO_THREAD = 1.0
"""Seconds after which to try again when the system gives no thread."""

_Work = tuple["Future[Any]", Callable[[], Any]]


class DaemonThreads(Executor):
    """An executor whose threads do not keep the process: the interpreter waits at its exit for those of the standard
    library's, so that one handler that never returns would make a stop last for ever."""

    def __init__(self, at_most: int, name: str) -> None:
        """Starts up to `at_most` threads, as they are needed."""
        self._at_most = at_most
        self._name = name
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._free = 0
        """Threads without work, less the work that waits for a thread."""
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Runs ``fn(*args, **kwargs)`` in a thread.

        Raises RuntimeError after `shutdown`, and `Overloaded` when it has no thread and the system gives none.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the server has stopped: its threads take no more work")
            if self._free > 0 or self._threads >= self._at_most or not self._has_one_more():
                self._free -= 1
            self._work.put((future, lambda: fn(*args, **kwargs)))
        return future

    def _has_one_more(self) -> bool:
        """Whether a further thread could be started; when there are others, those do the work instead."""
        thread = threading.Thread(target=self._run, name=f"{self._name}-{self._threads + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the process may have no more threads, or no more memory
            if not self._threads:
                raise Overloaded("the server has no thread left", retry_after=NO_THREAD) from error
            return False
        self._threads += 1
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more work; threads end when what was taken is done. It never waits."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            tell = _done(*item)
            del item
            # Before the result is told: whoever waits for it may have the next work, and needs no further thread.
            with self._lock:
                self._free += 1
            tell()


def _done(future: Future[Any], work: Callable[[], Any]) -> Callable[[], None]:
    """Does the work; gives what tells its outcome."""
    if not future.set_running_or_notify_cancel():
        return lambda: None
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
        return partial(future.set_exception, error)
    return partial(future.set_result, result)
