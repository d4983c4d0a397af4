"""One key that is followed, and what its text is as a value of a type."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from hrpc.abc import Watched
from hrpc.errors import ConsulError, InvalidConfig, KeyNotExist

T = TypeVar("T")


def cleaned(key: str) -> str:
    """A key without slashes at its ends. Raises ValueError for what is not a key."""
    clean = key.strip("/")
    # A path with dots would lead out of the environment, or of the KV store altogether.
    if any(part in ("", ".", "..") for part in clean.split("/")):
        raise ValueError(f"configs: {key!r} is not a key: it takes names between single slashes, other than . and ..")
    return clean


class Nothing:
    """In the place of a value that there is not, or not yet."""


NOTHING = Nothing()


class Key:
    """The newest text of a key, and those who read it."""

    def __init__(self, path: str, followed: Watched[bytes | None], fetched: bytes | ConsulError | None) -> None:
        """`fetched` is what Consul said when the key was first used: it counts until the watch has an answer."""
        self.path = path
        self.refused = 0
        """Texts that were not what they have to be."""
        self.failures = 0
        """Calls of handlers that failed."""
        self.callbacks: list[Callable[[], None]] = []
        """Called in the event loop after every change of the text."""
        self._followed = followed
        self._fetched = fetched
        self._values: dict[Any, Value[Any]] = {}
        followed.on_change(self._changed)

    def age(self) -> float:
        """Seconds since Consul last confirmed the text."""
        return self._followed.age()

    def text(self) -> bytes | None:
        """The text now, None when there is none. Raises `ConsulError` when Consul has not told it yet."""
        if self._followed.known:
            return self._followed.value
        if isinstance(self._fetched, ConsulError):
            raise self._fetched.with_traceback(None)  # else each use would make it longer
        return self._fetched

    def value(self, kind: type[T]) -> Value[T]:
        """The text as a `kind`."""
        # Two threads that make one at a time make equal ones, and one of them is kept.
        return self._values.get(kind) or self._values.setdefault(kind, Value(self, kind))

    def _changed(self) -> None:
        for value in list(self._values.values()):
            value.now()  # so that a bad text is told when it is written, and not when it is read
        for callback in list(self.callbacks):
            callback()


class Value(Generic[T]):
    """The text of a key as a value of one type: made once for each change, and kept when a new text is refused."""

    def __init__(self, key: Key, kind: type[T]) -> None:
        self._key = key
        self._kind = kind
        self._text: bytes | Nothing | None = NOTHING
        self._value: T | Nothing = NOTHING
        self._error: Exception | None = None
        self._taking = threading.Lock()

    def get(self) -> T:
        """The value. Raises `KeyNotExist`, `ConsulError`, or `InvalidConfig` when there has been no good one yet."""
        text = self._key.text()
        if text is not self._text:
            self._take(text)
        if self._value is NOTHING:
            raise KeyNotExist(self._key.path) if self._error is None else self._error.with_traceback(None)
        return cast(T, self._value)

    def now(self) -> T | Nothing | None:
        """The value; None when the key does not exist, and `NOTHING` when it is not known or was never good."""
        try:
            text = self._key.text()
        except ConsulError:
            return NOTHING
        if text is not self._text:
            self._take(text)
            if text is not None and self._value is NOTHING:
                self._tell("there is no value before it to keep")
        return None if text is None else self._value

    def _take(self, text: bytes | None) -> None:
        with self._taking:
            if text != self._text:
                from hrpc.configs.decoding import read  # which `import hrpc` does without

                try:
                    self._value = NOTHING if text is None else read(self._kind, self._key.path, text)
                    self._error = None
                except Exception as error:  # noqa: BLE001 - told, and raised to whoever reads it; the watch goes on
                    self._refuse(error)
            self._text = text

    def _refuse(self, error: Exception) -> None:
        self._key.refused += 1
        self._error = error
        if self._value is not NOTHING:
            self._tell("the value before it is kept")

    def _tell(self, what_follows: str) -> None:
        from loguru import logger

        if isinstance(self._error, InvalidConfig):
            logger.error("{}; {}", self._error, what_follows)
        else:
            # What a class of the user raises may show the value.
            kind, raised = self._kind, type(self._error).__name__
            logger.error("key {!r}: reading it as {!r} raised {}; {}", self._key.path, kind, raised, what_follows)
