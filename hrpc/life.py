"""Hooks into the life of the process: what to run before it exits, and when it is told to restart.

::

    from hrpc import life

    life.when_exit(close_something)          # any function without arguments, sync or async

Exit hooks run when the calls have drained, the one registered last first, while the pools are still open. Each has a
time limit; one that raises or hangs is reported and the next one runs. Restart hooks run on SIGHUP in the order of
registration, while the process goes on serving. Sync hooks run in a thread of their own, so that they may block.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from hrpc import _runtime
from hrpc._runtime import Hook
from hrpc.errors import StepTimeout

T = TypeVar("T")


def when_exit(hook: Hook) -> None:
    """Registers a function to run before the process exits.

    In a running server it belongs to this one life. Outside of one, as at import, it runs at the end of every life: of
    ``server.run(migrate)`` and of the ``server.serve()`` after it.
    """
    runtime = _runtime.current()
    (_runtime.early_exit_hooks if runtime is None else runtime.exit_hooks).append(hook)


def when_restart(hook: Hook) -> None:
    """Registers a function to run on SIGHUP; in a running server for this life, outside of one for every life."""
    runtime = _runtime.current()
    (_runtime.early_restart_hooks if runtime is None else runtime.restart_hooks).append(hook)


def worker() -> int | None:
    """The number of this process among the workers of its service, from 1 on; None where one process serves alone.

    It is known in the service's calls, steps and hooks; the environment variable ``HRPC_WORKER`` has it as well. A
    worker that follows another one has its number.

    ::

        if hrpc.worker() in (1, None):      # in one process only, however many there are
            hrpc.go(clean_up_every_hour())
    """
    runtime = _runtime.current()
    return None if runtime is None else runtime.worker


def exit_hooks(runtime: _runtime.Runtime) -> list[Hook]:
    """The exit hooks of a life, as they were registered."""
    return [*_runtime.early_exit_hooks, *runtime.exit_hooks]


async def run_exit_hooks(runtime: _runtime.Runtime, limit: float) -> list[Exception]:
    """Runs all exit hooks, `limit` seconds for each; gives the errors."""
    hooks = exit_hooks(runtime)
    runtime.exit_hooks.clear()
    return await run_all("exit hook", hooks[::-1], limit)


async def run_restart_hooks(runtime: _runtime.Runtime, limit: float) -> list[Exception]:
    """Runs all restart hooks, `limit` seconds for each; gives the errors."""
    return await run_all("restart hook", [*_runtime.early_restart_hooks, *runtime.restart_hooks], limit)


async def run_all(kind: str, hooks: list[Hook], limit: float) -> list[Exception]:
    errors: list[Exception] = []
    for hook in hooks:
        name = f"{kind} {getattr(hook, '__qualname__', None) or repr(hook)}"
        try:
            await run_within(limit, name, hook)
        except StepTimeout as error:
            errors.append(error)
        except Exception as error:  # noqa: BLE001 - reported by whoever runs the hooks; the next one runs
            error.add_note(f"raised by {name}")
            errors.append(error)
    return errors


async def run_within(limit: float, name: str, hook: Hook) -> None:
    """Runs one function. After `limit` seconds it is abandoned, whatever it does; then raises `StepTimeout`."""
    task = asyncio.ensure_future(run_hook(hook))
    await asyncio.wait({task}, timeout=limit)
    if not task.done():
        task.cancel()
        raise StepTimeout(name, limit)
    _raise_failure(task)


async def run_cancellable(hook: Hook, patience: float) -> None:
    """Runs one function. When it is cancelled, it has `patience` seconds to end, and is then abandoned."""
    task = asyncio.ensure_future(run_hook(hook))
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=patience)
        raise
    _raise_failure(task)


def _raise_failure(task: asyncio.Future[object]) -> None:
    if task.cancelled():
        raise RuntimeError("cancelled itself")
    task.result()


async def run_hook(hook: Hook) -> object:
    """Runs one function, sync or async, and gives its result; raises what it raises, or else a RuntimeError.

    A RuntimeError is what is no Exception, such as a SystemExit. The task is one that runs nothing else than functions
    that a stop waits for.
    """
    _runtime.await_this_task()
    try:
        result = hook() if is_async(hook) else await in_daemon_thread(hook)
        return await result if inspect.isawaitable(result) else result
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise RuntimeError(f"raised {error!r}; the process ends by itself after the last step") from error


def is_async(hook: Callable[..., object]) -> bool:
    """Whether calling it gives something to await, so that it can be called on the event loop."""
    return inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__)


def in_daemon_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Runs a function in a thread of its own, which does not keep the process when it hangs."""
    # The interpreter waits at its exit for the threads of an executor.
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            if inspect.iscoroutine(result):
                result.close()  # it came too late for anybody to await it, and Python would warn of that
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = context.run(function)
        except BaseException as caught:  # noqa: BLE001 - carried over to the loop, where it is reported
            error = caught
        if isinstance(error, StopIteration):  # a future takes it for its own end
            error = RuntimeError(f"raised {error!r}")
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    runtime = _runtime.current()
    context = contextvars.copy_context()
    if runtime is not None:
        context.run(_runtime.enter_thread, runtime)
    threading.Thread(target=run, name="hrpc-hook", daemon=True).start()
    return future
