"""Where tasks and threads are: the stacks of a running process, those that are alike told once.

All of it may be called in any thread, also while the event loop is stuck. What changes meanwhile can come out torn: it
is for people to read.
"""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

DEEPEST = 30
"""Frames of one stack that are told, the innermost ones."""

_NUMBER = re.compile(r"[-_ ]?\d+$")
_OF_A_STEP = ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper")
"""What stands between a coroutine and the one that it awaits, and does not say which that is."""


class Stack(NamedTuple):
    """How many tasks or threads of this name are at one place; `frames` from the outermost to the innermost."""

    name: str
    number: int
    frames: tuple[str, ...]

    def __str__(self) -> str:
        head = self.name if self.number == 1 else f"{self.number} x {self.name}"
        return "\n  ".join([head, *self.frames])


def of_tasks(loop: asyncio.AbstractEventLoop) -> list[Stack]:
    """The tasks of an event loop, the most numerous ones first."""
    return _alike((_named(task), tuple(_awaited(task))) for task in asyncio.all_tasks(loop))


def of_threads() -> list[Stack]:
    """The threads that Python knows, but for the one that asks."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    asking = threading.get_ident()
    return _alike(
        (f"thread {_NUMBER.sub('', names.get(ident, 'unknown'))}", tuple(_called(frame)))
        for ident, frame in frames.items()
        if ident != asking
    )


def _named(task: asyncio.Task[Any]) -> str:
    name = task.get_name()
    if not name.startswith("Task-"):
        return f"task {name}"
    coroutine: Any = task.get_coro()
    return f"task {getattr(coroutine, '__qualname__', None) or type(coroutine).__name__}"


def _alike(found: Iterable[tuple[str, tuple[str, ...]]]) -> list[Stack]:
    return [Stack(name, number, frames) for (name, frames), number in Counter(found).most_common()]


def _called(frame: FrameType | None) -> list[str]:
    frames: list[str] = []
    while frame is not None and len(frames) < DEEPEST:
        frames.append(_place(frame))
        frame = frame.f_back
    return frames[::-1]


def _awaited(task: asyncio.Task[Any]) -> Iterator[str]:
    """The coroutines that a task is in, each awaited by the one before, and what the last one waits for."""
    awaited: Any = task.get_coro()
    for _ in range(DEEPEST):
        frame = _attribute(awaited, "frame")
        if frame is not None:
            yield _place(frame)
        elif (name := getattr(awaited, "__qualname__", None)) is not None:
            yield name  # of compiled code, as gRPC's
        if type(awaited).__name__ in _OF_A_STEP:
            inner = next((held for held in gc.get_referents(awaited) if _attribute(held, "frame") is not None), None)
        else:
            inner = _attribute(awaited, "await")
        if inner is None:
            break
        awaited = inner
    waiter = getattr(task, "_fut_waiter", None)
    if isinstance(waiter, asyncio.Task):
        yield f"waits for {_named(waiter)}"


def _attribute(awaited: Any, what: str) -> Any:
    for name in (f"cr_{what}", f"ag_{what}", f"gi_{'yieldfrom' if what == 'await' else what}"):
        if (found := getattr(awaited, name, None)) is not None:
            return found
    return None


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"
