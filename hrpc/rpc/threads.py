"""Threads for handlers that are not coroutines."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

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
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Runs ``fn(*args, **kwargs)`` in a thread. Raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the server has stopped: its threads take no more work")
            self._work.put((future, lambda: fn(*args, **kwargs)))
            if self._free > 0:
                self._free -= 1
            elif self._threads < self._at_most:
                self._threads += 1
                threading.Thread(target=self._run, name=f"{self._name}-{self._threads}", daemon=True).start()
        return future

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
