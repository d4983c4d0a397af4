"""Tells the errors of the driver apart: the server is away, it refuses us, or the statement is wrong.

Numbers below 2000 and above 3000 are the server's, those of 2000 the client's; see
https://dev.mysql.com/doc/mysql-errors/8.0/en/ and https://mariadb.com/kb/en/mariadb-error-codes/.
"""

from __future__ import annotations

from collections.abc import Sequence

from hrpc.database.mysql.settings import MySQLSettings
from hrpc.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable
from hrpc.recipe.servers import Server
from hrpc.recipe.tls import certificate_problem

CUT_OFF = frozenset(
    {
        1053,  # server shutdown in progress
        1077,  # normal shutdown
        1152,  # aborted connection
        1927,  # MariaDB: connection was killed
        2002,  # cannot connect through the socket
        2003,  # cannot connect to the host
        2006,  # server has gone away
        2013,  # connection lost during a query
        2055,  # connection lost, with the system's error
        4031,  # MySQL: disconnected because of inactivity
    }
)
_FULL = frozenset(
    {
        1040,  # too many connections
        1203,  # too many connections of this user
        1226,  # a limit of this user is reached
    }
)
TOO_SLOW = frozenset(
    {
        1969,  # MariaDB: max_statement_time exceeded
        3024,  # MySQL: max_execution_time exceeded
    }
)
ROLLED_BACK = frozenset(
    {
        1020,  # MariaDB: record has changed since last read (innodb_snapshot_isolation)
        1213,  # deadlock
    }
)
_OPTION_PREVENTS = 1290  # with the name of the option
_READ_ONLY = frozenset(
    {
        1836,  # MySQL: running in read-only mode
        3100,  # MySQL: a replication plugin does not let it commit, as of a group without a primary
    }
)
_WRONG_LOGIN = frozenset({1045, 1698})
_WRONG_DATABASE = frozenset({1044, 1049})
_WRONG_PLUGIN = frozenset({1251, 1275, 2059, 2061})


def number(error: BaseException) -> int | None:
    """The error's number, if it has one."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None


class NoTLS(Exception):
    """The server does not offer TLS."""


def is_read_only(error: BaseException) -> bool:
    """Whether this error says that the server, and not the transaction, takes no writes."""
    code = number(error)
    if code == _OPTION_PREVENTS:
        return "read-only" in str(error) or "read_only" in str(error)
    return code in _READ_ONLY


def is_failure(error: BaseException) -> bool:
    """Whether the driver's error says that the server is away, or does not serve us at the moment."""
    return number(error) in CUT_OFF | TOO_SLOW or is_read_only(error)


def is_away(error: BaseException) -> bool:
    """Whether an error while connecting says that nobody is there, so that another server is worth a try."""
    if certificate_problem(error) is not None:
        return False
    return isinstance(error, OSError) or number(error) in CUT_OFF


def reason(error: BaseException) -> str:
    """An error while connecting, in a word for metrics."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if is_away(error):
        return "unreachable"
    return "full" if number(error) in _FULL else "refused"


def not_connected(settings: MySQLSettings, server: Server, limit: float, error: BaseException) -> DatabaseError:
    """What an error while connecting to one server, within `limit` seconds, means."""
    code, place = number(error), settings.place_at(server)
    if isinstance(error, TimeoutError):
        message = f"{place}: no connection within {limit:.3g} s (connect_timeout); check the address, the port and the "
        return settings.fault(DatabaseUnavailable, message + "network")
    if isinstance(error, NoTLS):
        message = f"{place}: the server does not offer TLS; turn it on there, or leave 'tls' out of {settings.origin}"
        return settings.fault(DatabaseRefused, message)
    if (problem := certificate_problem(error)) is not None:
        message = f"{place}: TLS failed: {problem}; check 'tls_ca' in {settings.origin}, and the server's certificate"
        return settings.fault(DatabaseRefused, message)
    if is_away(error):
        cause = error.__cause__ or error
        message = f"{place}: cannot connect: {cause}; check that the server runs, address and port"
        return settings.fault(DatabaseUnavailable, message)
    if code in _FULL:
        message = f"{place}: {_text(error)}; raise the limit of the server, or lower max_open_conns "
        return settings.fault(DatabaseUnavailable, f"{message}({settings.max_open_conns} per process)")
    message = f"{place}: user {settings.username!r} is not let in: {_text(error)}; {_fix(settings, code)}"
    return settings.fault(DatabaseRefused, message)


def nobody(settings: MySQLSettings, failures: Sequence[DatabaseError]) -> DatabaseUnavailable:
    """None of the servers takes a connection."""
    each = "; ".join(map(str, failures))
    return settings.fault(DatabaseUnavailable, f"{settings.place}: none of the servers takes a connection: {each}")


def _fix(settings: MySQLSettings, code: int | None) -> str:
    if code in _WRONG_LOGIN:
        return f"check 'username' and 'password' in {settings.origin}"
    if code in _WRONG_DATABASE:
        return f"check 'dbname' in {settings.origin}, create the database, or grant the user access to it"
    if code in _WRONG_PLUGIN:
        return "give the user a password of mysql_native_password or caching_sha2_password"
    return f"check 'address' and 'port' in {settings.origin}, and that a MySQL or MariaDB server listens there"


def _text(error: BaseException) -> str:
    return f"{error.args[1]} ({error.args[0]})" if number(error) and len(error.args) > 1 else str(error) or repr(error)
