"""The errors of databases."""

from __future__ import annotations

from hrpc.errors.root import HrpcError


class DatabaseError(HrpcError):
    """A database cannot be used. `origin` is where its settings stand, when it is known."""

    origin: str | None = None


class DatabaseUnavailable(DatabaseError):
    """A database is away, or does not answer in time. A call that ends with this error answers UNAVAILABLE."""


class PoolTimeout(DatabaseUnavailable):
    """Every connection of a pool stayed in use for as long as a caller may wait."""


class DatabaseRefused(DatabaseError):
    """A database was reached but does not let us in: wrong user, password or database name."""
