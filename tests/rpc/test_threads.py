"""The threads of sync handlers: bounded, reused, and never in the way of the end."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from hrpc.errors import Overloaded
from hrpc.rpc.threads import DaemonThreads


def test_work_is_done_by_no_more_threads_than_allowed_and_its_errors_are_given() -> None:
    threads = DaemonThreads(3, "worker")
    together = threading.Barrier(3, timeout=10)
    names: set[str] = set()

    def work(number: int) -> int:
        names.add(threading.current_thread().name)
        together.wait()
        return number

    assert [future.result(10) for future in [threads.submit(work, number) for number in range(30)]] == list(range(30))
    assert len(names) == 3
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result(10)
    threads.shutdown()


def test_one_thread_is_enough_for_work_that_comes_one_by_one() -> None:
    threads = DaemonThreads(8, "worker")
    names = set()
    for _ in range(50):
        names.add(threads.submit(lambda: threading.current_thread().name).result(10))
    assert len(names) == 1
    threads.shutdown()


def test_after_a_shutdown_what_was_taken_is_done_and_no_more_is_taken() -> None:
    threads = DaemonThreads(1, "worker")
    go_on = threading.Event()
    taken: list[Future[bool]] = [threads.submit(go_on.wait, 10) for _ in range(3)]
    threads.shutdown()
    with pytest.raises(RuntimeError, match="has stopped"):
        threads.submit(print)
    go_on.set()
    assert [future.result(10) for future in taken] == [True] * 3


def test_cancelled_work_is_not_done() -> None:
    threads = DaemonThreads(1, "worker")
    go_on = threading.Event()
    threads.submit(go_on.wait, 10)
    second = threads.submit(pytest.fail, "it ran")
    assert second.cancel()
    go_on.set()
    assert threads.submit(lambda: 5).result(10) == 5
    threads.shutdown()


def no_more_threads(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_when_the_system_gives_no_thread_others_do_the_work_and_later_there_are_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = DaemonThreads(3, "worker")
    go_on, began = threading.Event(), threading.Semaphore(0)

    def work() -> bool:
        began.release()
        return go_on.wait(10)

    first = threads.submit(work)
    began.acquire()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more_threads)
        waiting = [threads.submit(work) for _ in range(3)]
    others = [threads.submit(work) for _ in range(2)]
    assert all(began.acquire(timeout=10) for _ in range(2)), "the two that were missing have been started"
    go_on.set()
    assert [future.result(10) for future in [first, *waiting, *others]] == [True] * 6
    threads.shutdown()


def test_without_a_single_thread_the_work_is_refused_and_never_done(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = DaemonThreads(3, "worker")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more_threads)
        with pytest.raises(Overloaded, match="no thread left"):
            threads.submit(pytest.fail, "it ran")
    assert threads.submit(lambda: 5).result(10) == 5
    threads.shutdown()
