"""Tells the errors of redis-py apart: the server is away, or it refuses us."""

from __future__ import annotations

from redis import exceptions
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError

from hrpc.database.redis.settings import RedisSettings
from hrpc.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable, PoolTimeout
from hrpc.recipe.tls import certificate_problem

_REFUSALS = (AuthenticationError, AuthorizationError)


class RedisPoolTimeout(PoolTimeout, exceptions.ConnectionError):
    """`PoolTimeout`, also for those who catch the errors of redis-py."""


class RedisClosed(DatabaseUnavailable, exceptions.ConnectionError):
    """The pool is closed, also for those who catch the errors of redis-py."""


def is_failure(error: BaseException) -> bool:
    """Whether this error says that the server is away, or does not serve us at the moment."""
    cause = _root(error)
    if is_wrong_server(error) or is_wrong_server(cause):
        return True
    return isinstance(cause, exceptions.ConnectionError | exceptions.TimeoutError) and not isinstance(cause, _REFUSALS)


def is_wrong_server(error: BaseException) -> bool:
    """Whether the server says that it is a replica, which takes no writes, or none that has its data."""
    return isinstance(error, exceptions.ReadOnlyError | exceptions.MasterDownError)


def reason(error: BaseException) -> str:
    """An error while connecting, in a word for metrics."""
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return "timeout"
    if isinstance(_root(error), exceptions.MaxConnectionsError) or "max number of clients" in str(error):
        return "full"
    return "unreachable" if is_failure(error) and certificate_problem(error) is None else "refused"


def _root(error: BaseException) -> BaseException:
    """The server's own error; redis-py wraps it in a ConnectionError when it comes through a Unix socket."""
    return error.__cause__ if isinstance(error.__cause__, RedisError) else error


def not_connected(settings: RedisSettings, error: RedisError) -> DatabaseError:
    """What an error while connecting, or of a ping, means."""
    cause = _root(error)
    if (problem := certificate_problem(error)) is not None:
        message = f"TLS failed: {problem}; check 'tls_ca' in {settings.origin}, and the server's certificate"
        return settings.fault(DatabaseRefused, f"{settings.place}: {message}")
    if isinstance(cause, _REFUSALS):
        message = f"user {settings.username or 'default'!r} is not let in: {cause}; "
        message += f"check 'username' and 'password' in {settings.origin}"
        return settings.fault(DatabaseRefused, f"{settings.place}: {message}")
    if isinstance(cause, ResponseError) and "DB index" in str(cause):
        message = f"there is no such database: {cause}; check 'db' in {settings.origin}, "
        message += "or raise `databases` in the server's configuration"
        return settings.fault(DatabaseRefused, f"{settings.place}: {message}")
    if is_failure(cause):
        message = f"no answer: {str(cause).rstrip('.')}; check that the server runs, address and port"
        return settings.fault(DatabaseUnavailable, f"{settings.place}: {message}")
    message = f"answers, but not as expected: {cause}; "
    message += f"check 'address' and 'port' in {settings.origin}, and that a Redis server listens there"
    return settings.fault(DatabaseRefused, f"{settings.place}: {message}")
