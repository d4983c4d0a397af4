"""Tells the errors of PyMongo apart: the server is away, or it refuses us.

The numbers are those of https://www.mongodb.com/docs/manual/reference/error-codes/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from hrpc.database.adapter import certificate_problem
from hrpc.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable, PoolTimeout
from hrpc_mongodb.settings import MongoDBSettings

_TLS = re.compile(r"\[SSL: \w+\] ([^(]*[^( ])")
_LOGIN_FAILED, _UNAUTHORIZED = 18, 13
_REFUSALS = (_UNAUTHORIZED, _LOGIN_FAILED)


class MongoDBPoolTimeout(PoolTimeout, WaitQueueTimeoutError):
    """`PoolTimeout`, also for those who catch the errors of PyMongo."""


class NoServer(DatabaseUnavailable, ServerSelectionTimeoutError):
    """No server takes the operation, also for those who catch the errors of PyMongo."""


class NoConnection(DatabaseUnavailable, NetworkTimeout):
    """No connection could be made in time, also for those who catch the errors of PyMongo."""


def is_failure(error: BaseException) -> bool:
    """Whether this error says that the server is away, or does not serve us at the moment."""
    return isinstance(error, ConnectionFailure) or (isinstance(error, PyMongoError) and error.timeout)


def reason(error: BaseException | None) -> str:
    """An error while connecting, in a word for metrics."""
    if isinstance(error, NetworkTimeout | TimeoutError):
        return "timeout"
    if isinstance(error, OperationFailure | ConfigurationError):
        return "refused"
    return "unreachable" if error is None or _tls_problem(error) is None else "refused"


def not_connected(settings: MongoDBSettings, error: PyMongoError, of_servers: Iterable[BaseException]) -> DatabaseError:
    """What an error while connecting, or of a ping, means; `of_servers` are those that the servers' watchers had."""
    place, origin = settings.place, settings.origin
    causes = list(of_servers)
    for cause in (error, *causes):
        if (problem := _tls_problem(cause)) is not None:
            message = f"TLS failed: {problem}; check 'tls_ca' in {origin}, and the server's certificate"
            return settings.fault(DatabaseRefused, f"{place}: {message}")
    if isinstance(error, OperationFailure) and error.code in _REFUSALS:
        return settings.fault(DatabaseRefused, f"{place}: {_not_let_in(settings, error)}")
    if isinstance(error, ServerSelectionTimeoutError):
        return settings.fault(DatabaseUnavailable, no_server(settings, causes or [error]))
    if isinstance(error, DatabaseError):
        return error
    if is_failure(error):
        message = f"no answer: {_words(error)}; check that the server runs, address and port"
        return settings.fault(DatabaseUnavailable, f"{place}: {message}")
    message = f"answers, but not as expected: {_words(error)}; "
    message += f"check 'address' and 'port' in {origin}, and that a MongoDB server listens there"
    return settings.fault(DatabaseRefused, f"{place}: {message}")


def no_server(settings: MongoDBSettings, causes: Iterable[BaseException]) -> str:
    """No server takes an operation; `causes` are what its watchers have met."""
    told = "; ".join(dict.fromkeys(map(_words, causes))) or "none has the part that is wanted"
    message = f"no server for it was found within {settings.selection_timeout:g} s (selection_timeout): {told}"
    message += "; check that the server runs, address and port"
    if settings.replica_set or len(settings.servers) > 1:
        message += ", 'replica_set', and that the set has a primary"
    return f"{settings.place}: {message}"


def _tls_problem(error: BaseException) -> str | None:
    # What watches a server keeps only the words of the error.
    found = _TLS.search(str(error))
    return certificate_problem(error) or (found and found[1])


def unusable(settings: MongoDBSettings, error: Exception) -> DatabaseRefused:
    """PyMongo does not take these settings."""
    fields = "'tls_ca' and 'tls_cert'" if settings.uses_tls else "the settings"
    return settings.fault(DatabaseRefused, f"{settings.place}: {_words(error)}; check {fields} in {settings.origin}")


def _not_let_in(settings: MongoDBSettings, error: OperationFailure) -> str:
    origin = settings.origin
    if settings.username is None:
        return f"the server wants a login: {_words(error)}; give 'username' and 'password' in {origin}"
    if error.code == _LOGIN_FAILED:
        fix = f"check 'username', 'password' and 'auth_source' ({settings.auth_source!r}) in {origin}"
    else:
        fix = f"check 'dbname' in {origin}, or grant the user a role in that database"
    return f"user {settings.username!r} is not let in: {_words(error)}; {fix}"


def _words(error: BaseException) -> str:
    """What an error says, without the limits, the topology and the whole answer of the server that PyMongo appends."""
    text = str((error.details or {}).get("errmsg", "")) if isinstance(error, OperationFailure) else ""
    text = text or str(error) or type(error).__name__
    for end in (" (configured timeouts", ", Timeout: ", ", full error:"):
        text = text.partition(end)[0]
    return text.rstrip(". ")
