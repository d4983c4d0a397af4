"""What goes wrong with a lock."""

from __future__ import annotations

from hrpc import HrpcError
from hrpc.errors import DatabaseUnavailable


class LockError(HrpcError):
    """The root of the errors of locks."""


class LockTimeout(LockError, TimeoutError):
    """A lock was not free in the time that its caller would wait."""


class LockLost(LockError):
    """A lock has ended before the block that held it: others may have had it meanwhile."""


class LockUpgrade(LockError, RuntimeError):
    """A task that may read wants to write: two of them would wait for each other for ever."""


class LockUnavailable(LockError, DatabaseUnavailable):
    """Redis does not answer, or not as expected. A call that ends with this error answers UNAVAILABLE."""
