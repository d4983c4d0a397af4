"""Tells the errors of redis-py apart: the server is away, or it refuses us."""

from __future__ import annotations

from redis import exceptions
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError

from hrpc.database.redis.settings import RedisSettings
from hrpc.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable, PoolTimeout

_REFUSALS = (AuthenticationError, AuthorizationError)


class RedisPoolTimeout(PoolTimeout, exceptions.ConnectionError):
    """`PoolTimeout`, also for those who catch the errors of redis-py."""


class RedisClosed(DatabaseUnavailable, exceptions.ConnectionError):
    """The pool is closed, also for those who catch the errors of redis-py."""


def is_failure(error: BaseException) -> bool:
    """Whether this error says that the server is away, or does not serve us at the moment."""
    away = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.MasterDownError, exceptions.ReadOnlyError)
    cause = _root(error)
    return isinstance(cause, away) and not isinstance(cause, _REFUSALS)


def _root(error: BaseException) -> BaseException:
    """The server's own error; redis-py wraps it in a ConnectionError when it comes through a Unix socket."""
    return error.__cause__ if isinstance(error.__cause__, RedisError) else error


def not_connected(settings: RedisSettings, error: RedisError) -> DatabaseError:
    """What an error while connecting, or of a ping, means."""
    cause = _root(error)
    if isinstance(cause, _REFUSALS):
        return DatabaseRefused(
            f"{settings.place}: user {settings.username or 'default'!r} is not let in: {cause}; "
            f"check 'username' and 'password' in {settings.origin}"
        )
    if isinstance(cause, ResponseError) and "DB index" in str(cause):
        return DatabaseRefused(
            f"{settings.place}: there is no such database: {cause}; check 'db' in {settings.origin}, "
            "or raise `databases` in the server's configuration"
        )
    if is_failure(cause):
        return DatabaseUnavailable(
            f"{settings.place}: no answer: {str(cause).rstrip('.')}; check that the server runs, address and port"
        )
    return DatabaseRefused(
        f"{settings.place}: answers, but not as expected: {cause}; "
        f"check 'address' and 'port' in {settings.origin}, and that a Redis server listens there"
    )
